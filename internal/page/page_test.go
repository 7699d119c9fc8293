package page

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/docs"
	"shares/simulator"
)

// handler returns the page around a service that answers with status 418.
func handler(t testing.TB, o Options) http.Handler {
	t.Helper()
	h, err := Handler(o, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(t testing.TB, h http.Handler, method, target string) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, target, nil))
	resp := rec.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPaths(t *testing.T) {
	h := handler(t, Options{Version: "1.2.3", Simulated: true})
	for name, tt := range map[string]struct {
		method, path string
		status       int
		contentType  string
		begins       string
	}{
		"the page":         {"GET", "/", 200, "text/html; charset=utf-8", "<!doctype html>"},
		"its head":         {"HEAD", "/", 200, "text/html; charset=utf-8", ""},
		"a query":          {"GET", "/?from=readme", 200, "text/html; charset=utf-8", "<!doctype html>"},
		"a module":         {"GET", "/page/page.js", 200, "text/javascript; charset=utf-8", "// Starts"},
		"the client":       {"GET", "/page/client.js", 200, "text/javascript; charset=utf-8", "// Code generated"},
		"a style":          {"GET", "/page/style.css", 200, "text/css; charset=utf-8", "/*"},
		"an icon":          {"GET", "/page/icon.svg", 200, "image/svg+xml", "<svg"},
		"about":            {"GET", "/page/about.json", 200, "application/json; charset=utf-8", `{"simulated":true,"version":"1.2.3"}`},
		"the API":          {"GET", "/openapi.json", 200, "application/json; charset=utf-8", "{\n"},
		"another file":     {"GET", "/page/page.go", 418, "", ""},
		"the page's file":  {"GET", "/page/index.html", 418, "", ""},
		"a path traversal": {"GET", "/page/../page.go", 418, "", ""},
		"another method":   {"POST", "/", 418, "", ""},
		"an endpoint":      {"POST", "/shares/api/v1/weixin.oauth", 418, "", ""},
		"a picture":        {"GET", "/shares/images/qrcode/a.jpg", 418, "", ""},
		"an unclean path":  {"GET", "//", 418, "", ""},
		"the API by POST":  {"POST", "/openapi.json", 418, "", ""},
		"a path below it":  {"GET", "/openapi.json/x", 418, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ask(t, h, tt.method, "http://localhost:82"+tt.path)
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.contentType || tt.method != http.MethodHead && !strings.HasPrefix(body, tt.begins) {
				t.Errorf("got status %d, Content-Type %q, body %.40q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
			policy := resp.Header.Get("Content-Security-Policy")
			if ours := tt.status == http.StatusOK; ours != strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe") {
				t.Errorf("unexpected Content-Security-Policy %q", policy)
			}
		})
	}
}

// TestOpenAPI compares the served document with the generated one.
func TestOpenAPI(t *testing.T) {
	h := handler(t, Options{})
	for _, host := range []string{"localhost:8082", "192.168.1.7", `odd"host`} {
		var got, want map[string]any
		r := httptest.NewRequest(http.MethodGet, "/openapi.json", nil)
		r.Host = host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(docs.OpenAPI(), &want); err != nil {
			t.Fatal(err)
		}
		want["host"] = host // tools send their requests there
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host, diff)
		}
	}
}

var (
	han         = regexp.MustCompile(`\p{Han}`)
	textDefined = regexp.MustCompile(`(?m)^  "?([\w/-]+)"?: \[\s*"((?:[^"\\]|\\.)*)",\s*"((?:[^"\\]|\\.)*)",?\s*\]`)
	textAsked   = regexp.MustCompile(`\bt\("([^"]+)"|\? "(\w+)" : "(\w+)"\)|data-t(?:-\w+)?="([^"]+)"`)
)

// TestTexts checks that the page has the texts that it uses, one for each of WeChat's endpoints and
// faults, and no others.
func TestTexts(t *testing.T) {
	files, err := fs.ReadDir(static, "static")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	var defined []string
	for _, f := range files {
		content, err := fs.ReadFile(static, path.Join("static", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "client.js" {
			continue // uses no texts
		}
		if f.Name() == "text.js" {
			for _, m := range textDefined.FindAllStringSubmatch(string(content), -1) {
				defined = append(defined, m[1])
				zh, en := m[2], m[3]
				if strings.Count(zh, "{}") != strings.Count(en, "{}") || han.MatchString(en) ||
					!han.MatchString(zh) && zh != en && !strings.Contains(zh, "{}") {
					t.Errorf("the text %q does not exist in both languages: %q, %q", m[1], zh, en)
				}
			}
			continue
		}
		for _, m := range textAsked.FindAllStringSubmatch(string(content), -1) {
			for _, key := range m[1:] {
				if key != "" {
					asked[key] = true
				}
			}
		}
	}
	for _, endpoint := range simulator.New(simulator.Options{}).Endpoints() {
		asked[endpoint] = true
	}
	for _, kind := range simulator.FaultKinds() {
		asked[string(kind)+"_kind"] = true
	}
	for key := range asked {
		if !slices.Contains(defined, key) {
			t.Errorf("no text for %q", key)
		}
	}
	for _, key := range defined {
		if !asked[key] && key != "rg" && key != "only20" { // used by the setting's name
			t.Errorf("the text %q is not used", key)
		}
	}
}
