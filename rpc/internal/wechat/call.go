package wechat

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/medivhzhan/weapp/v3"
	"github.com/medivhzhan/weapp/v3/logger"
	"github.com/medivhzhan/weapp/v3/request"
	"github.com/zeromicro/go-zero/core/breaker"
)

// endpoint is one of WeChat's calls as this package treats it.
type endpoint struct {
	name    string
	limit   int64
	image   bool
	retry   bool // -1 and 5xx are tried once more
	breaker breaker.Breaker
}

func newEndpoint(name string) *endpoint {
	return &endpoint{name: name, limit: maxJSONBytes, breaker: breaker.NewBreaker(breaker.WithName("wechat " + name))}
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
	c.tokens.reject(ctx, token)
	if token, e = c.tokens.get(ctx, token); e != nil {
		return e
	}
	return c.call(ctx, ep, token, do)
}

// call asks the endpoint's breaker, makes the request, repeats it where that is allowed, and tells the breaker how it went. A caller
// who left tells nothing about WeChat: such a call counts neither way.
func (c *Client) call(ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error) *Error {
	if e := ended(ctx); e != nil {
		e.Endpoint = ep.name
		return e
	}
	promise, err := ep.breaker.Allow()
	if err != nil {
		c.metrics.calls.WithLabelValues(ep.name, "breaker open").Inc()
		return &Error{Kind: Unavailable, Endpoint: ep.name, Reason: "breaker open"}
	}
	e := c.attempt(ctx, ep, token, do)
	if e != nil && e.retry && ep.retry && pause(ctx, retryPause()) {
		e = c.attempt(ctx, ep, token, do)
	}
	switch {
	case e == nil:
		promise.Accept()
	case e.Kind == Canceled, e.Kind == Deadline && !e.own:
	case e.Kind == Unavailable && !e.stale, e.Kind == Deadline, e.Kind == BadAnswer:
		promise.Reject(e.Error())
	default:
		promise.Accept()
	}
	return e
}

// attempt makes one request by a weapp client of its own, and measures it.
func (c *Client) attempt(ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error) *Error {
	start := time.Now()
	err := do(weapp.NewClient(c.appID, c.secret(),
		weapp.WithHttpClient(&http.Client{Transport: &boundTransport{ctx: ctx, base: c.base, next: c.transport, limit: ep.limit, image: ep.image}}),
		weapp.WithCache(staticToken(token)),
		weapp.WithLogger(silent{}),
	))
	c.metrics.seconds.WithLabelValues(ep.name).Observe(time.Since(start).Seconds())

	var e *Error
	if err != nil && !errors.As(err, &e) {
		// What is not ours is weapp's decoder: the transport lets nothing else through.
		e = &Error{Kind: BadAnswer, Reason: "answer of another form"}
	}
	if e != nil {
		e.Endpoint = ep.name
	}
	c.metrics.calls.WithLabelValues(ep.name, e.label()).Inc()
	c.alerts.note(ctx, ep.name, e)
	return e
}

// refused returns the Error of an answer that carries an errcode, nil of one that does not.
func (c *Client) refused(ctx context.Context, ep *endpoint, answer request.CommonError) error {
	if answer.ErrCode == 0 {
		return nil
	}
	e := refusal(ep.name, answer.ErrCode, answer.ErrMSG)
	if e.Kind == Unknown {
		c.logger.WarnContext(ctx, "WeChat answered with an errcode that is not in the table",
			"endpoint", ep.name, "errcode", answer.ErrCode, "rid", requestID(answer.ErrMSG))
	}
	return e
}

func retryPause() time.Duration { return 50*time.Millisecond + rand.N(50*time.Millisecond) }

// pause waits, and reports whether the context lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
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
