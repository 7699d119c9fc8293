package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// Answer is the outcome of a request.
type Answer struct {
	Status     int
	RetryAfter bool
	Body       []byte
	Err        error // no answer, or a wrong one
}

// Failure returns why the request was not served, nil if it was.
func (a Answer) Failure() error {
	if a.Err == nil && a.Status != http.StatusOK {
		return fmt.Errorf("status %d: %.200s", a.Status, a.Body)
	}
	return a.Err
}

// Into decodes the answer of a request that was served.
func (a Answer) Into(v any) error {
	if err := a.Failure(); err != nil {
		return err
	}
	return json.Unmarshal(a.Body, v)
}

// Request sends body as JSON, with the session if there is one.
func Request(ctx context.Context, client *http.Client, method, url, session string, body any) Answer {
	data, err := json.Marshal(body)
	if err != nil {
		return Answer{Err: err}
	}
	return send(ctx, client, method, url, session, "application/json", bytes.NewReader(data))
}

func send(ctx context.Context, client *http.Client, method, url, session, contentType string, body io.Reader) Answer {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return Answer{Err: err}
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if session != "" {
		req.Header.Set("Authorization", "Bearer "+session)
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{Err: err}
	}
	got, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header.Get("Retry-After") != "", got, errors.Join(err, resp.Body.Close())}
}

// Target is a server, or one client's way to it.
type Target struct {
	URL    string // without a path
	Client *http.Client
	Away   atomic.Bool // it gets no requests
}

const prefix = "/shares/api/v1/weixin."

// Post calls an endpoint.
func (t *Target) Post(ctx context.Context, endpoint, session string, body any) Answer {
	return Request(ctx, t.Client, http.MethodPost, t.URL+prefix+endpoint, session, body)
}

// Get gets a path.
func (t *Target) Get(ctx context.Context, path string) Answer {
	return send(ctx, t.Client, http.MethodGet, t.URL+path, "", "", nil)
}

// Upload sends a file to upload_avatar.
func (t *Target) Upload(ctx context.Context, session string, file []byte) Answer {
	body := "--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + string(file) + "\r\n--b--\r\n"
	return send(ctx, t.Client, http.MethodPost, t.URL+prefix+"upload_avatar", session, "multipart/form-data; boundary=b", strings.NewReader(body))
}

// Picture returns the path of the picture in an answer.
func Picture(a Answer) (string, Answer) {
	var picture struct{ Url string }
	if a.Into(&picture) != nil {
		return "", a
	}
	u, err := url.Parse(picture.Url)
	if err != nil {
		a.Err = err
		return "", a
	}
	return u.Path, a
}

// QRCode requests a code and returns the path of its picture.
func (t *Target) QRCode(ctx context.Context, session, scene string) (string, Answer) {
	return Picture(t.Post(ctx, "get_qrcode", session, map[string]string{"page": "pages/index/index", "scene": scene}))
}
