package main

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
)

// answer is what came of a request.
type answer struct {
	status     int
	retryAfter bool
	body       []byte
	err        error // there was no answer
}

func (a answer) failure() error {
	if a.err != nil {
		return a.err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d: %s", a.status, a.body)
	}
	return nil
}

func (a answer) into(v any) error {
	if err := a.failure(); err != nil {
		return err
	}
	return json.Unmarshal(a.body, v)
}

func request(ctx context.Context, client *http.Client, method, url, session string, body any) answer {
	data, err := json.Marshal(body)
	if err != nil {
		return answer{err: err}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data))
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	if session != "" {
		req.Header.Set("Authorization", "Bearer "+session)
	}
	return send(client, req)
}

func send(client *http.Client, req *http.Request) answer {
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Retry-After") != "", got, errors.Join(err, resp.Body.Close())}
}

// post calls an endpoint.
func (s *server) post(ctx context.Context, endpoint, session string, body any) answer {
	return request(ctx, s.client, http.MethodPost, s.url()+"/shares/api/v1/"+endpoint, session, body)
}

// upload sends a file to weixin.upload_avatar.
func (s *server) upload(ctx context.Context, session string, file []byte) answer {
	body := "--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + string(file) + "\r\n--b--\r\n"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		s.url()+"/shares/api/v1/weixin.upload_avatar", strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	req.Header.Set("Authorization", "Bearer "+session)
	return send(s.client, req)
}

// qrcode asks for a code and returns the path of its picture.
func (s *server) qrcode(ctx context.Context, session, scene string) (string, answer) {
	a := s.post(ctx, "weixin.get_qrcode", session, map[string]string{"page": "pages/index/index", "scene": scene})
	var code struct{ Url string }
	if a.into(&code) != nil {
		return "", a
	}
	u, err := url.Parse(code.Url)
	if err != nil {
		a.err = err
		return "", a
	}
	return u.Path, a
}

// picture gets a picture.
func (s *server) picture(ctx context.Context, path string) answer {
	status, body, err := get(ctx, s.client, s.url()+path)
	return answer{status: status, body: body, err: err}
}
