// Package page is what a browser shows at / in dev mode: the mini program on a
// phone, run by the typed client, what it says over the wire, and the simulated
// WeChat with its faults. Its files are in the binary and are served as they
// are; client.js among them is made from client/src by `make gen`. main puts
// the handler around the service's own, never in pro mode.
package page

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"

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
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' https: http:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contentTypes are told here because the system's own table may have others.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one answer, ready to be sent.
type file struct {
	contentType string
	body        []byte
}

// Handler serves the page at /, its files under /page/ and the API's
// description at /openapi.json, by GET and HEAD; next serves everything else.
// Its errors are mistakes of the build.
func Handler(o Options, next http.Handler) (http.Handler, error) {
	files, err := load(o)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	api, err := newDescription(docs.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("page: openapi.json: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		if r.URL.Path == "/openapi.json" {
			file{"application/json; charset=utf-8", api.of(r.Host)}.write(w)
			return
		}
		f, ok := files[r.URL.Path]
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		f.write(w)
	}), nil
}

// load returns all files by their path in a URL.
func load(o Options) (map[string]file, error) {
	about, err := json.Marshal(map[string]any{"version": o.Version, "simulated": o.Simulated})
	if err != nil {
		return nil, err
	}
	files := map[string]file{"/page/about.json": {"application/json; charset=utf-8", about}}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		body, err := fs.ReadFile(static, path.Join("static", e.Name()))
		if err != nil {
			return nil, err
		}
		contentType, ok := contentTypes[path.Ext(e.Name())]
		if !ok {
			return nil, fmt.Errorf("%s: no content type for it", e.Name())
		}
		url := "/page/" + e.Name()
		if e.Name() == "index.html" {
			url = "/"
		}
		files[url] = file{contentType, body}
	}
	return files, nil
}

func (f file) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // the next build may have another page
	_, _ = w.Write(f.body)             // the browser may be gone; net/http drops the body of a HEAD
}

// description is an OpenAPI document whose host is the one that it is read
// from: tools that import it send their requests there.
type description map[string]json.RawMessage

func newDescription(doc []byte) (description, error) {
	var d description
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, err
	}
	return d, nil
}

func (d description) of(host string) []byte {
	own := make(description, len(d))
	for key, value := range d {
		own[key] = value
	}
	own["host"], _ = json.Marshal(host) // a text always can be
	doc, _ := json.MarshalIndent(own, "", "  ")
	return append(doc, '\n')
}
