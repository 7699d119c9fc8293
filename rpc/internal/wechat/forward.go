package wechat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/medivhzhan/weapp/v3"

	"shares/internal/reason"
)

// Path is a prefix of WeChat's paths that other services may use. It has a breaker of its own and
// is the endpoint in metrics and logs.
type Path struct {
	Prefix   string
	client   *Client
	endpoint *endpoint
}

// Path returns the Path of a prefix.
func (c *Client) Path(prefix string) *Path { return &Path{prefix, c, newEndpoint(prefix)} }

// Forward sends a request to WeChat's path with the access token, and calls use with WeChat's
// answer of status 2xx and any errcode, all within Options.Timeout. If WeChat rejects the token, it
// sends the request once more with another one.
func (p *Path) Forward(ctx context.Context, method, path string, query url.Values, kind string,
	body []byte, use func(*http.Response)) error {
	ctx, cancel := p.client.bound(ctx)
	defer cancel()
	var answer *http.Response
	err := p.client.withToken(ctx, p.endpoint, func(w *weapp.Client) error {
		token, err := w.AccessToken()
		if err != nil {
			return err
		}
		if answer != nil {
			answer.Body.Close() // the answer to the rejected token
		}
		target := p.client.base.JoinPath(path)
		query.Set("access_token", token)
		target.RawQuery = query.Encode()
		req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
		if err != nil {
			return failure(reason.Internal, "request cannot be built") // err contains the URL
		}
		if method == http.MethodGet {
			req.Body, req.GetBody = io.NopCloser(bytes.NewReader(body)), nil // see boundTransport
		}
		if kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		answer, err = p.send(req, token)
		return err
	})
	if answer != nil {
		defer answer.Body.Close()
	}
	if e, ok := errors.AsType[*Error](err); ok && (e.code == 0 || e.endpoint != p.Prefix) {
		return e
	}
	use(answer)
	return nil
}

// send returns WeChat's answer, and an error if its status is not 2xx or it has an errcode.
func (p *Path) send(req *http.Request, token string) (*http.Response, error) {
	transport := &boundTransport{ctx: req.Context(), endpoint: p.endpoint}
	rsp, err := p.client.Transport.RoundTrip(req) // follows no redirects
	if err != nil {
		return nil, transport.failure(err)
	}
	start, err := io.ReadAll(io.LimitReader(rsp.Body, maxJSONBytes))
	rsp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rsp.Body), rsp.Body}
	if e := transport.check(rsp.StatusCode, err); e != nil {
		return rsp, e
	}
	if bytes.Contains(start, []byte(token)) {
		return rsp, badAnswer("answer contains the access token")
	}
	if _, e := transport.judge(start); e != nil && e.code != 0 { // else a picture, or no error
		return rsp, e
	}
	return rsp, nil
}
