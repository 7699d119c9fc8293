package wechat

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/medivhzhan/weapp/v3"
	"github.com/medivhzhan/weapp/v3/logger"
	"github.com/zeromicro/go-zero/core/breaker"
)

// endpoint is one of WeChat's calls and how to make it.
type endpoint struct {
	name    string
	image   bool // the answer is an image
	retry   bool // retry once after -1 and 5xx
	breaker breaker.Breaker
}

func newEndpoint(name string) *endpoint {
	return &endpoint{name: name, breaker: breaker.NewBreaker(breaker.WithName("wechat " + name))}
}

// withToken calls an endpoint that needs an access token. If WeChat rejects the token, it calls
// once more with another one.
func (c *Client) withToken(ctx context.Context, ep *endpoint, do func(*weapp.Client) error) *Error {
	token, e := c.tokens.get(ctx, "")
	if e != nil {
		return e
	}
	if e = c.call(ctx, ep, token, do); e == nil || !e.stale {
		return e
	}
	if token, e = c.tokens.get(ctx, token); e != nil {
		return e
	}
	return c.call(ctx, ep, token, do)
}

// call makes the request behind the endpoint's breaker and retries it if the endpoint allows that.
func (c *Client) call(
	ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error,
) *Error {
	promise, err := ep.breaker.Allow()
	if err != nil {
		c.metrics.calls.WithLabelValues(ep.name, "breaker open").Inc()
		return &Error{endpoint: ep.name, detail: "breaker open", meaning: meaning{answer: unavailable}}
	}
	e := c.attempt(ctx, ep, token, do)
	if e != nil && e.retry && ep.retry {
		select {
		case <-ctx.Done():
		case <-time.After(50*time.Millisecond + rand.N(50*time.Millisecond)):
			e = c.attempt(ctx, ep, token, do)
		}
	}
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errOwnTimeout):
		// A canceled caller says nothing about WeChat.
	case e.isDown():
		promise.Reject(e.Error())
	default:
		promise.Accept()
	}
	return e
}

// attempt makes one request with its own weapp client, and measures it.
func (c *Client) attempt(
	ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error,
) *Error {
	if e := ended(ctx, ep.name); e != nil {
		return e
	}
	start := time.Now()
	err := do(weapp.NewClient(c.AppID, string(c.Secret),
		weapp.WithHttpClient(&http.Client{Transport: &boundTransport{ctx, ep, c.base, c.Transport}}),
		weapp.WithCache(staticToken(token)),
		weapp.WithLogger(silent{}),
	))
	c.metrics.seconds.WithLabelValues(ep.name).Observe(time.Since(start).Seconds())

	e, ok := errors.AsType[*Error](err)
	if err != nil && !ok {
		// Any other error is from weapp's decoder, because the transport returns only *Error.
		e = badAnswer("answer of another form")
	}
	if e != nil {
		e.endpoint = ep.name
	}
	c.metrics.calls.WithLabelValues(ep.name, e.label()).Inc()
	c.note(ctx, ep.name, e)
	return e
}

// staticToken is the token cache of a weapp client, which lives for one call.
type staticToken string

func (t staticToken) Get(string) (any, bool)         { return string(t), true }
func (t staticToken) Set(string, any, time.Duration) {}

// silent replaces weapp's own logger, which prints secrets.
type silent struct{}

func (silent) Info(context.Context, string, ...any)  {}
func (silent) Warn(context.Context, string, ...any)  {}
func (silent) Error(context.Context, string, ...any) {}
func (silent) SetLevel(logger.Level)                 {}
