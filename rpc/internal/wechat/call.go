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

// endpoint is one of WeChat's calls as this package treats it.
type endpoint struct {
	name    string
	image   bool // answers with an image
	retry   bool // -1 and 5xx are tried once more
	breaker breaker.Breaker
}

func newEndpoint(name string) *endpoint {
	return &endpoint{name: name, breaker: breaker.NewBreaker(breaker.WithName("wechat " + name))}
}

// withToken calls an endpoint that takes an access token. A call whose token WeChat rejects is made once more with another one.
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

// call asks the endpoint's breaker, makes the request, repeats it where that is allowed, and tells the breaker how it went.
func (c *Client) call(ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error) *Error {
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
		// A caller that left says nothing about WeChat.
	case e.isDown():
		promise.Reject(e.Error())
	default:
		promise.Accept()
	}
	return e
}

// attempt makes one request by a weapp client of its own, and measures it.
func (c *Client) attempt(ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error) *Error {
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
		// What is not ours is weapp's decoder: the transport lets nothing else through.
		e = badAnswer("answer of another form")
	}
	if e != nil {
		e.endpoint = ep.name
	}
	c.metrics.calls.WithLabelValues(ep.name, e.label()).Inc()
	c.note(ctx, ep.name, e)
	return e
}

// staticToken is the cache of a weapp client that lives for one call.
type staticToken string

func (t staticToken) Get(string) (any, bool)         { return string(t), true }
func (t staticToken) Set(string, any, time.Duration) {}

// silent is weapp's logger: its own prints secrets.
type silent struct{}

func (silent) Info(context.Context, string, ...any)  {}
func (silent) Warn(context.Context, string, ...any)  {}
func (silent) Error(context.Context, string, ...any) {}
func (silent) SetLevel(logger.Level)                 {}
