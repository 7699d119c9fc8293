package qrcode

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/reason"
	"shares/rpc/internal/wechat"
)

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ page, scene, field, rule string }{
		{"", "a", "", ""},
		{"", "id=42&from=a", "", ""},
		{"", "0189AZaz!#$&'()*+,/:;=?@-._~", "", ""},
		{"", strings.Repeat("a", 32), "", ""},
		{"pages/index/index", "a", "", ""},
		{"package-a/pages/stock_detail/index.v2", "a", "", ""},
		{"pages/...", "a", "", ""},
		{strings.Repeat("a", 128), "a", "", ""},

		{"", "", "scene", "required"},
		{"", strings.Repeat("a", 33), "scene", "scene"},
		{"", strings.Repeat("a", 1<<20), "scene", "scene"},
		{"", "a%20b", "scene", "scene"},
		{"", "a b", "scene", "scene"},
		{"", "场景", "scene", "scene"},
		{"", "a\n", "scene", "scene"},
		{"", "a\x00", "scene", "scene"},
		{"", "\xff", "scene", "scene"},
		{"", `a"b\c|[d]^e{f}<g>` + "`", "scene", "scene"},

		{"/pages/index/index", "a", "page", "page"},
		{"pages/index?id=1", "a", "page", "page"},
		{"pages/../index", "a", "page", "page"},
		{"..", "a", "page", "page"},
		{"./pages/index", "a", "page", "page"},
		{"pages/.", "a", "page", "page"},
		{strings.Repeat("a", 129), "a", "page", "too_long"},
		{"pages/index#top", "a", "page", "page"},
		{"pages/首页", "a", "page", "page"},
		{"pages/a b", "a", "page", "page"},
		{"pages/\xff", "a", "page", "page"},
		{"pages/a\n", "a", "page", "page"},
		{"pages/%2e", "a", "page", "page"},
	} {
		err := check(tt.page, tt.scene)
		_, metadata := reason.Of(err)
		if metadata["field"] != tt.field || metadata["rule"] != tt.rule {
			t.Errorf("check(%.40q, %.40q): %v, want %s %s", tt.page, tt.scene, err, tt.field, tt.rule)
		}
	}
}

func TestObjectName(t *testing.T) {
	base := wechat.CodeParams{Page: "pages/index", Scene: "a=1", EnvVersion: "release", Width: 430, CheckPath: true}
	// A changed name would orphan every code in the bucket.
	const want = "qrcode/c60903e3fecfe69c2653afe091e1f26af8be0e84fd1a10c4591d6d340488eee8.jpg"
	if diff := cmp.Diff(want, objectName("wx1", base)); diff != "" {
		t.Error(diff)
	}

	names := map[string]string{objectName("wx1", base): "base"}
	add := func(what, appID string, change func(*wechat.CodeParams)) {
		p := base
		change(&p)
		name := objectName(appID, p)
		if other, ok := names[name]; ok {
			t.Errorf("%s and %s have the same name", what, other)
		}
		names[name] = what
	}
	add("app", "wx2", func(*wechat.CodeParams) {})
	add("page", "wx1", func(p *wechat.CodeParams) { p.Page = "pages/indexa" })
	add("no page", "wx1", func(p *wechat.CodeParams) { p.Page = "" })
	add("moved border", "wx1", func(p *wechat.CodeParams) { p.Page, p.Scene = "pages/indexa", "=1" })
	add("scene", "wx1", func(p *wechat.CodeParams) { p.Scene = "A=1" })
	add("env", "wx1", func(p *wechat.CodeParams) { p.EnvVersion = "trial" })
	add("width", "wx1", func(p *wechat.CodeParams) { p.Width = 431 })
	add("check path", "wx1", func(p *wechat.CodeParams) { p.CheckPath = false })
	add("hyaline", "wx1", func(p *wechat.CodeParams) { p.IsHyaline = true })
	add("auto color", "wx1", func(p *wechat.CodeParams) { p.AutoColor = true })
	add("red", "wx1", func(p *wechat.CodeParams) { p.LineColor[0] = 1 })
	add("green", "wx1", func(p *wechat.CodeParams) { p.LineColor[1] = 1 })
	add("blue", "wx1", func(p *wechat.CodeParams) { p.LineColor[2] = 1 })
	auto := base
	auto.AutoColor, auto.LineColor[0] = true, 1
	if other := names[objectName("wx1", auto)]; other != "auto color" {
		t.Errorf("an unused line color changes the name: got the name of %q", other)
	}
	for name, what := range names {
		if what == "hyaline" != strings.HasSuffix(name, ".png") {
			t.Errorf("%s has the wrong extension: %s", what, name)
		}
	}
}
