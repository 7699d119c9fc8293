package qrcode

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// fieldError is err as a FieldError, the zero value for nil.
func fieldError(t *testing.T, err error) FieldError {
	t.Helper()
	if err == nil {
		return FieldError{}
	}
	var f *FieldError
	if !errors.As(err, &f) {
		t.Fatalf("%v is not a FieldError", err)
	}
	return *f
}

func TestCheckScene(t *testing.T) {
	tooLong := FieldError{Field: "scene", Rule: RuleTooLong, Max: 32}
	alphabet := FieldError{Field: "scene", Rule: RuleAlphabet}
	for _, tc := range []struct {
		scene string
		want  FieldError
	}{
		{scene: "a"},
		{scene: "id=42&from=a"},
		{scene: "0189AZaz!#$&'()*+,/:;=?@-._~"},
		{scene: strings.Repeat("a", 32)},
		{"", FieldError{Field: "scene", Rule: RuleRequired}},
		{strings.Repeat("a", 33), tooLong},
		{strings.Repeat("a", 1<<20), tooLong},
		{"a%20b", alphabet},
		{"a b", alphabet},
		{"场景", alphabet},
		{"a\n", alphabet},
		{"a\x00", alphabet},
		{"\xff", alphabet},
		{`a"b`, alphabet},
		{`a\b`, alphabet},
		{"a|b", alphabet},
		{"a[0]", alphabet},
		{"a^b`{c}<d>", alphabet},
	} {
		if diff := cmp.Diff(tc.want, fieldError(t, CheckScene(tc.scene))); diff != "" {
			t.Errorf("CheckScene(%.40q): %s", tc.scene, diff)
		}
	}
}

func TestCheckPage(t *testing.T) {
	alphabet := FieldError{Field: "page", Rule: RuleAlphabet}
	for _, tc := range []struct {
		page string
		want FieldError
	}{
		{page: ""},
		{page: "pages/index/index"},
		{page: "package-a/pages/stock_detail/index.v2"},
		{page: strings.Repeat("a", 128)},
		{"/pages/index/index", FieldError{Field: "page", Rule: RuleLeadingSlash}},
		{"pages/index?id=1", FieldError{Field: "page", Rule: RuleQuery}},
		{strings.Repeat("a", 129), FieldError{Field: "page", Rule: RuleTooLong, Max: 128}},
		{"pages/index#top", alphabet},
		{"pages/首页", alphabet},
		{"pages/a b", alphabet},
		{"pages/\xff", alphabet},
		{"pages/a\n", alphabet},
		{"pages/%2e", alphabet},
	} {
		if diff := cmp.Diff(tc.want, fieldError(t, CheckPage(tc.page))); diff != "" {
			t.Errorf("CheckPage(%.40q): %s", tc.page, diff)
		}
	}
}

// FuzzCheck holds that what passes is what WeChat documents, and that an error
// never repeats what was sent.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"", "a", "id=42", "a%20", "/pages/x", "pages/x?y", "\xff\xfe", "场景", strings.Repeat("~", 33), "secret-looking-value"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, page, scene string) {
		if err := CheckScene(scene); err == nil {
			if n := len(scene); n < 1 || n > 32 || strings.ContainsAny(scene, "% \"\\<>^`{|}[]") {
				t.Errorf("scene %q passed", scene)
			}
			for _, r := range scene {
				if r < 0x21 || r > 0x7e {
					t.Errorf("scene %q passed", scene)
				}
			}
		} else if fieldError(t, err); len(scene) > 12 && strings.Contains(err.Error(), scene) {
			t.Errorf("%v repeats its input", err)
		}
		if err := CheckPage(page); err == nil {
			if len(page) > 128 || strings.HasPrefix(page, "/") || strings.ContainsAny(page, "?# %") || !utf8.ValidString(page) {
				t.Errorf("page %q passed", page)
			}
		} else if fieldError(t, err); len(page) > 12 && strings.Contains(err.Error(), page) {
			t.Errorf("%v repeats its input", err)
		}
	})
}

func TestObjectName(t *testing.T) {
	base := Params{Page: "pages/index", Scene: "a=1", Style: Style{EnvVersion: "release", Width: 430, CheckPath: true}}
	// Another name for the same code would orphan every code ever made.
	const want = "qrcode/c60903e3fecfe69c2653afe091e1f26af8be0e84fd1a10c4591d6d340488eee8.jpg"
	if diff := cmp.Diff(want, objectName("wx1", base)); diff != "" {
		t.Error(diff)
	}

	names := map[string]string{objectName("wx1", base): "base"}
	add := func(what, appID string, change func(*Params)) {
		p := base
		change(&p)
		name := objectName(appID, p)
		if other, ok := names[name]; ok {
			t.Errorf("%s and %s have one name", what, other)
		}
		names[name] = what
	}
	add("app", "wx2", func(*Params) {})
	add("page", "wx1", func(p *Params) { p.Page = "pages/indexa" })
	add("no page", "wx1", func(p *Params) { p.Page = "" })
	add("moved border", "wx1", func(p *Params) { p.Page, p.Scene = "pages/indexa", "=1" })
	add("scene", "wx1", func(p *Params) { p.Scene = "A=1" })
	add("env", "wx1", func(p *Params) { p.EnvVersion = "trial" })
	add("width", "wx1", func(p *Params) { p.Width = 431 })
	add("check path", "wx1", func(p *Params) { p.CheckPath = false })
	add("hyaline", "wx1", func(p *Params) { p.IsHyaline = true })
	add("auto color", "wx1", func(p *Params) { p.AutoColor = true })
	add("red", "wx1", func(p *Params) { p.LineColor.R = 1 })
	add("green", "wx1", func(p *Params) { p.LineColor.G = 1 })
	add("blue", "wx1", func(p *Params) { p.LineColor.B = 1 })
	for name, what := range names {
		if what == "hyaline" != strings.HasSuffix(name, ".png") {
			t.Errorf("%s is called %s", what, name)
		}
	}
}

func TestStyleNormalized(t *testing.T) {
	for _, tc := range []struct {
		in, want Style
		ok       bool
	}{
		{Style{}, Style{EnvVersion: "release", Width: 430}, true},
		{Style{EnvVersion: "trial", Width: 280}, Style{EnvVersion: "trial", Width: 280}, true},
		{Style{EnvVersion: "develop", Width: 1280, LineColor: Color{1, 2, 3}}, Style{EnvVersion: "develop", Width: 1280, LineColor: Color{1, 2, 3}}, true},
		{Style{AutoColor: true, LineColor: Color{1, 2, 3}}, Style{EnvVersion: "release", Width: 430, AutoColor: true}, true},
		{in: Style{EnvVersion: "prod"}},
		{in: Style{Width: 279}},
		{in: Style{Width: 1281}},
		{in: Style{Width: -1}},
	} {
		got, err := tc.in.normalized()
		if (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc.in, err)
		} else if diff := cmp.Diff(tc.want, got); tc.ok && diff != "" {
			t.Error(diff)
		}
	}
}
