package services

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"shares/internal/config"
	"shares/internal/reason"
	"shares/rpc/internal/wechat"
)

// reserved matches the paths that return an access token or reset the app's quotas.
var reserved = regexp.MustCompile(`(?i)^/cgi-bin/(token|stable_token|clear_quota|openapi/quota/clear)(/|$)`)

// secret matches the names of query parameters and fields that hold the app's secret.
var secret = regexp.MustCompile(`(?i)^(app)?secret$`)

// allowed returns the Path that a path of WeChat is under, or nil.
func (h *Handler) allowed(path string) *wechat.Path {
	for _, p := range h.paths {
		if strings.HasPrefix(path+"/", p.Prefix+"/") && config.WechatPath.MatchString(path) && !reserved.MatchString(path) {
			return p
		}
	}
	return nil
}

// forward sends the request to WeChat and writes WeChat's answer.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, to *wechat.Path, path string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return reason.Error(reason.MethodNotAllowed)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reason.Field("query", "encoding")
	}
	for name := range query {
		if secret.MatchString(name) {
			return reason.Error(reason.PathNotAllowed)
		}
		if strings.EqualFold(name, "access_token") {
			delete(query, name)
		}
	}
	most := int64(maxBody)
	if strings.Contains(path+"/", "/media/") {
		most = maxMedia
	}
	return h.with(r, most, func(body []byte) error {
		kind := r.Header.Get("Content-Type")
		if err := checkBody(body, kind); err != nil {
			return err
		}
		return to.Forward(r.Context(), r.Method, path, query, kind, body, func(answer *http.Response) {
			for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Length"} {
				if value := answer.Header.Get(name); value != "" {
					w.Header().Set(name, value)
				}
			}
			if _, err := io.Copy(w, answer.Body); err != nil {
				panic(http.ErrAbortHandler) // the caller must not take a part for the whole
			}
		})
	})
}

// checkBody returns an error unless body is empty, a form of multipart, or one JSON object without
// the app's secret. It does not trust the content type: WeChat may ignore it.
func checkBody(body []byte, kind string) error {
	if len(body) == 0 || bytes.HasPrefix(body, []byte("--")) && strings.HasPrefix(strings.ToLower(kind), "multipart/form-data") {
		return nil
	}
	var fields map[string]jsontext.Value
	if err := json.Unmarshal(body, &fields); err != nil { // also for a field that occurs twice
		return reason.Error(reason.MalformedBody)
	}
	for name := range fields {
		if secret.MatchString(name) {
			return reason.Error(reason.PathNotAllowed)
		}
	}
	return nil
}
