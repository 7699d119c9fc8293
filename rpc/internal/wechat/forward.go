package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/medivhzhan/weapp/v3"

	"shares/internal/reason"
)

// Path is a prefix of WeChat's paths that other services may call. It has a breaker of its own and
// is the endpoint in metrics and logs.
type Path struct {
	Prefix   string
	client   *Client
	endpoint *endpoint
}

// Path returns the Path of a prefix.
func (c *Client) Path(prefix string) *Path { return &Path{prefix, c, newEndpoint(prefix)} }

// Request is a call of another service.
type Request struct {
	Method, Path string
	Query        url.Values // access_token is added
	ContentType  string
	Body         []byte
}

// Forward sends a request to WeChat within Options.Timeout and returns WeChat's answer of status
// 2xx, with any errcode. The caller must close its body. A rejected access token is replaced, and
// the request sent once more.
func (p *Path) Forward(ctx context.Context, r Request) (*http.Response, error) {
	ctx, cancel := p.client.bound(ctx)
	answer := &http.Response{Body: http.NoBody}
	err := p.client.withToken(ctx, p.endpoint, func(w *weapp.Client) error {
		token, err := w.AccessToken()
		if err != nil {
			return err
		}
		answer.Body.Close() // of the answer to the rejected token
		var e *Error
		if answer, e = p.send(ctx, r, token); e != nil {
			return e
		}
		return nil
	})
	if e, ok := errors.AsType[*Error](err); ok && (e.code == 0 || e.endpoint != p.Prefix) {
		answer.Body.Close()
		cancel()
		return nil, e
	}
	answer.Body = bound{answer.Body, cancel}
	return answer, nil
}

// send returns WeChat's answer, and an error if that is not of status 2xx or has an errcode.
func (p *Path) send(ctx context.Context, r Request, token string) (*http.Response, *Error) {
	none, transport := &http.Response{Body: http.NoBody}, &boundTransport{ctx: ctx, endpoint: p.endpoint}
	target := p.client.base.JoinPath(r.Path)
	query := maps.Clone(r.Query)
	query.Set("access_token", token)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return none, failure(reason.Internal, "request cannot be built") // err contains the URL
	}
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	rsp, err := p.client.Transport.RoundTrip(req) // follows no redirects
	if err != nil {
		return none, transport.failure(err)
	}
	start, err := io.ReadAll(io.LimitReader(rsp.Body, maxJSONBytes))
	rsp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rsp.Body), rsp.Body}
	switch {
	case rsp.StatusCode >= 500:
		return rsp, failure(reason.Unavailable, "HTTP status 5xx")
	case rsp.StatusCode < 200 || rsp.StatusCode > 299:
		return rsp, badAnswer("HTTP status is not 2xx")
	case errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() == nil:
		return rsp, badAnswer("answer cut short")
	case err != nil:
		return rsp, transport.failure(err)
	case bytes.Contains(start, []byte(token)):
		return rsp, badAnswer("answer contains the access token")
	}
	var said struct {
		Errcode int
		Errmsg  string
	}
	if json.Unmarshal(start, &said) == nil && said.Errcode != 0 { // else a picture, or no error
		return rsp, refusal(p.Prefix, said.Errcode, said.Errmsg)
	}
	return rsp, nil
}

// bound is a body whose call ends when it is closed.
type bound struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (b bound) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
