// Package page is what a browser shows at / in dev mode: the mini program on a
// phone, run by the typed client, what it says over the wire, and the simulated
// WeChat with its faults. Its files are in the binary and are served as they
// are; client.js among them is made from client/src by `make gen`.
// internal/app puts the handler around the service's own, never in pro mode.
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

// Options are what the page tells of the process that serves it.
type Options struct {
	Version   string // of the program
	Simulated bool   // WeChat is simulated in this process, with its controls under /simulator/
}

// policy lets the page load nothing but itself. Pictures are the exception:
// avatars and buckets can be anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' https: http:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contentTypes are told here because the system's own table may have others.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json; charset=utf-8",
}

// Handler serves the page at /, its files under /page/ and the API's
// description at /openapi.json, by GET and HEAD; next serves everything else.
// Its errors are mistakes of the build.
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
			// Tools that import it send their requests to the host that it is read from.
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
		h.Set("Cache-Control", "no-cache") // the next build may have another page
		_, _ = w.Write(body)               // the browser may be gone; net/http drops the body of a HEAD
	}), nil
}
