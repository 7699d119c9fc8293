package answer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/internal/reason"
)

// What clients see of each reason. Clients in the field act on these numbers.
func TestForms(t *testing.T) {
	want := map[reason.Reason]form{
		"INVALID_FIELD":      {400, 1001, 0},
		"MALFORMED_BODY":     {400, 1001, 0},
		"LOGIN_CODE_REFUSED": {401, 1008, 0},
		"SESSION_INVALID":    {401, 1018, 0},
		"BEARER_MISSING":     {401, 1018, 0},
		"USER_BLOCKED":       {403, 1080, 0},
		"CROSS_ORIGIN":       {403, 1080, 0},
		"HOST_NOT_ALLOWED":   {403, 1080, 0},
		"NOT_FOUND":          {404, 1006, 0},
		"METHOD_NOT_ALLOWED": {405, 1006, 0},
		"BODY_TOO_LARGE":     {413, 1082, 0},
		"UNSUPPORTED_MEDIA":  {415, 1001, 0},
		"NOT_MULTIPART":      {415, 1001, 0},
		"RATE_LIMITED":       {429, 1094, time.Second},
		"CANCELED":           {499, -1, 0},
		"INTERNAL":           {500, 2, 0},
		"WECHAT_BAD_ANSWER":  {502, -1, 0},
		"UNAVAILABLE":        {503, -1, 2 * time.Second},
		"OVERLOADED":         {503, -1, time.Second},
		"DEADLINE_EXCEEDED":  {504, -1, 0},
	}
	if diff := cmp.Diff(want, forms, cmp.AllowUnexported(form{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryReasonHasFormAndTexts(t *testing.T) {
	reasons := constants(t, "internal/reason/reason.go", "Reason")
	if len(reasons) < 17 {
		t.Fatalf("only %d reasons found", len(reasons))
	}
	for _, why := range reasons {
		if _, ok := forms[reason.Reason(why)]; !ok {
			t.Errorf("%s has no form", why)
		}
		if reason.Reason(why) != reason.InvalidField { // it has a text for each rule
			checkText(t, why, texts[reason.Reason(why)])
		}
	}
	for why := range forms {
		if !slices.Contains(reasons, string(why)) {
			t.Errorf("%s is no reason any more", why)
		}
	}
	for why := range texts {
		if !slices.Contains(reasons, string(why)) {
			t.Errorf("%s is no reason any more", why)
		}
	}
	for rule, text := range ruleTexts {
		checkText(t, rule, text)
	}
}

var han = regexp.MustCompile(`\p{Han}`)

func checkText(t *testing.T, name string, text text) {
	t.Helper()
	if !han.MatchString(text.zh) {
		t.Errorf("%s: no Chinese in %q", name, text.zh)
	}
	if text.en == "" || han.MatchString(text.en) {
		t.Errorf("%s: no English in %q", name, text.en)
	}
}

// Whoever makes an error of a rule brings what the rule's texts need, and no text is there for nobody.
func TestEveryRuleOfTheSourceHasItsText(t *testing.T) {
	calls := fieldCalls(t)
	if len(calls) < 15 {
		t.Fatalf("only %d calls of reason.Field found", len(calls))
	}
	used := make(map[string]bool)
	for _, c := range calls {
		used[c.rule] = true
		text, ok := ruleTexts[c.rule]
		if !ok {
			t.Errorf("%s: rule %q has no text", c.at, c.rule)
			continue
		}
		metadata := map[string]string{"rule": c.rule, "field": "f"}
		for _, name := range c.metadata {
			metadata[name] = "v"
		}
		for _, english := range []bool{false, true} {
			if got := message(reason.InvalidField, metadata, english); strings.ContainsAny(got, "{}") {
				t.Errorf("%s: %q is not filled", c.at, got)
			}
		}
		for _, name := range c.metadata {
			if !strings.Contains(text.zh, "{"+name+"}") || !strings.Contains(text.en, "{"+name+"}") {
				t.Errorf("%s: %s is told but in no text", c.at, name)
			}
		}
	}
	for rule := range ruleTexts {
		if !used[rule] {
			t.Errorf("rule %q is used nowhere", rule)
		}
	}
}

// The other reasons' texts need what their makers bring.
func TestEveryReasonOfTheSourceFillsItsText(t *testing.T) {
	for _, c := range errorCalls(t) {
		metadata := make(map[string]string)
		for _, name := range c.metadata {
			metadata[name] = "v"
		}
		for _, english := range []bool{false, true} {
			if got := message(reason.Reason(c.reason), metadata, english); strings.ContainsAny(got, "{}") {
				t.Errorf("%s: %q is not filled", c.at, got)
			}
		}
	}
}

func TestFill(t *testing.T) {
	for _, tt := range []struct {
		text     string
		metadata map[string]string
		want     string
	}{
		{"nothing to fill", nil, "nothing to fill"},
		{"{field} up to {max}", map[string]string{"field": "city", "max": "64"}, "city up to 64"},
		{"{field} {field}", map[string]string{"field": "a"}, "a a"},
		{"{field}, {allowed}", map[string]string{"field": "{allowed}", "allowed": "rg"}, "{allowed}, rg"}, // a key that a client made up
	} {
		if got := fill(tt.text, tt.metadata); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestLanguage(t *testing.T) {
	for header, english := range map[string]bool{
		"":                        false,
		"zh-CN":                   false,
		"zh-CN,zh;q=0.9,en;q=0.8": false,
		"zh-TW":                   false,
		"en":                      true,
		"en-US,en;q=0.9":          true,
		"en-GB,en;q=0.9,zh;q=0.8": true,
		"zh;q=0.5,en":             true,
		"fr":                      false,
		"fr,en;q=0.5":             true,
		"*":                       false,
		";;;":                     false,
		"\xff":                    false,
	} {
		if got := prefersEnglish(header); got != english {
			t.Errorf("Accept-Language %q: English %v, want %v", header, got, english)
		}
	}
	// A hostile header costs little and is no English.
	if prefersEnglish(strings.Repeat("x-", 8000)) {
		t.Error("a long header is English")
	}
}

func TestTable(t *testing.T) {
	rows := Table()
	if len(rows) != len(forms)-1 { // CANCELED is seen by nobody
		t.Errorf("%d rows of %d reasons", len(rows), len(forms))
	}
	for i, r := range rows {
		if r.Chinese == "" || r.English == "" {
			t.Errorf("%s has no text", r.Reason)
		}
		if r.Status < http.StatusBadRequest || r.Status == statusClientClosedRequest {
			t.Errorf("%s: status %d", r.Reason, r.Status)
		}
		if i > 0 && rows[i-1].Status > r.Status {
			t.Errorf("%s is not in order", r.Reason)
		}
	}
	want := Row{Status: 400, Code: 1001, Reason: "INVALID_FIELD", Chinese: "缺少参数 {field}", English: "{field} is required"}
	if diff := cmp.Diff(want, rows[0]); diff != "" {
		t.Errorf("first row (-want +got):\n%s", diff)
	}
}

// The source, as far as errors are made in it.

type call struct {
	at, reason, rule string
	metadata         []string
}

func fieldCalls(t *testing.T) []call {
	return calls(t, "Field", func(c *call, args []ast.Expr) {
		c.rule = literal(t, c.at, args[1])
		c.metadata = names(t, c.at, args[2:])
	})
}

func errorCalls(t *testing.T) []call {
	values := make(map[string]string)
	each(t, "internal/reason/reason.go", func(spec *ast.ValueSpec) {
		values[spec.Names[0].Name] = literal(t, spec.Names[0].Name, spec.Values[0])
	}, "Reason")
	return calls(t, "Error", func(c *call, args []ast.Expr) {
		selector, ok := args[0].(*ast.SelectorExpr)
		if !ok {
			t.Fatalf("%s: the reason is no constant", c.at)
		}
		c.reason = values[selector.Sel.Name]
		c.metadata = names(t, c.at, args[1:])
	})
}

// calls finds reason.<function>(…) in all of the service's source.
func calls(t *testing.T, function string, read func(*call, []ast.Expr)) []call {
	t.Helper()
	var found []call
	for _, file := range sources(t) {
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			e, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := e.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != function {
				return true
			}
			if x, ok := f.X.(*ast.Ident); !ok || x.Name != "reason" {
				return true
			}
			c := call{at: set.Position(e.Pos()).String()}
			read(&c, e.Args)
			found = append(found, c)
			return true
		})
	}
	return found
}

const root = "../../.."

func sources(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, dir := range []string{"api", "rpc"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func literal(t *testing.T, at string, e ast.Expr) string {
	t.Helper()
	l, ok := e.(*ast.BasicLit)
	if !ok {
		t.Fatalf("%s: no literal text: nothing can hold it against the catalogue", at)
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names are the keys of metadata: key, value, key, value.
func names(t *testing.T, at string, args []ast.Expr) []string {
	t.Helper()
	if len(args)%2 != 0 {
		t.Fatalf("%s: a key without a value", at)
	}
	var keys []string
	for i := 0; i < len(args); i += 2 {
		if key := literal(t, at, args[i]); key != "retry_after" { // a header's, no text's
			keys = append(keys, key)
		}
	}
	return keys
}

func each(t *testing.T, file string, visit func(*ast.ValueSpec), typeName string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == typeName {
				visit(spec)
			}
		}
		return true
	})
}

// constants returns the values of a file's constants of a type.
func constants(t *testing.T, file, typeName string) []string {
	t.Helper()
	var values []string
	each(t, file, func(spec *ast.ValueSpec) {
		values = append(values, literal(t, spec.Names[0].Name, spec.Values[0]))
	}, typeName)
	return values
}
