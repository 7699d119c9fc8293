// Package page serves the development page at / in dev mode: the mini program on a phone, its
// network requests, and the simulated WeChat with its faults. The page uses the typed client. The
// static files are embedded in the binary; `make gen` generates client.js from client/src.
// internal/app adds the handler in dev mode only.
package page

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"strconv"
	"strings"

	"shares/docs"
)

//go:embed static
var static embed.FS

// Options describe the process that serves the page.
type Options struct {
	Version   string // version of the program
	Simulated bool   // this process simulates WeChat, with controls under /simulator/
}

// policy allows the page to load only its own files, and pictures from any host, because avatars
// and buckets can be on any host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' https: http:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contentTypes are fixed, because the system's table may differ.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json; charset=utf-8",
}

// Handler serves the page at /, its files under /page/ and the OpenAPI document at /openapi.json,
// for GET and HEAD. next serves all other requests. Its errors are errors of the build.
func Handler(o Options, next http.Handler) (http.Handler, error) {
	about, err := json.Marshal(map[string]any{"version": o.Version, "simulated": o.Simulated})
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	var api map[string]any
	if err := json.Unmarshal(docs.OpenAPI(), &api); err != nil {
		return nil, fmt.Errorf("page: openapi.json: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ours := strings.CutPrefix(r.URL.Path, "/page/")
		switch r.URL.Path {
		case "/":
			name, ours = "index.html", true
		case "/openapi.json":
			name, ours = "openapi.json", true
		case "/page/index.html":
			ours = false
		}
		if !ours || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		var body []byte
		var err error
		switch name {
		case "about.json":
			body = about
		case "openapi.json":
			// Tools that import the document send their requests to its host.
			own := maps.Clone(api)
			own["host"] = r.Host
			body, err = json.MarshalIndent(own, "", "  ")
		default:
			body, err = fs.ReadFile(static, "static/"+name)
		}
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", contentTypes[path.Ext(name)])
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache") // the next build may change the page
		_, _ = w.Write(body)               // net/http drops the body of a HEAD
	}), nil
}
