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
	"github.com/zeromicro/go-zero/core/executors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"shares/internal/reason"
)

// endpoint is one of WeChat's calls and how to make it.
type endpoint struct {
	name    string
	image   bool // the answer is an image
	retry   bool // retry once after -1 and 5xx
	breaker breaker.Breaker
	log     *executors.LessExecutor // of what the operator must do: once a minute
}

func newEndpoint(name string) *endpoint {
	return &endpoint{
		name:    name,
		breaker: breaker.NewBreaker(breaker.WithName("wechat " + name)),
		log:     executors.NewLessExecutor(time.Minute),
	}
}

// withToken calls an endpoint that needs an access token. If WeChat rejects the token, it calls
// once more with another one.
func (c *Client) withToken(ctx context.Context, ep *endpoint, do func(*weapp.Client) error) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	token, err := c.tokens.get(ctx, "")
	if err != nil {
		return err
	}
	err = c.call(ctx, ep, token, do)
	if e, ok := errors.AsType[*Error](err); ok && e.stale {
		if token, err = c.tokens.get(ctx, token); err == nil {
			err = c.call(ctx, ep, token, do)
		}
	}
	return err
}

func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.Timeout, errOwnTimeout)
}

// call makes the request behind the endpoint's breaker and retries it if the endpoint allows that.
// Its error is an *Error.
func (c *Client) call(
	ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error,
) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	promise, err := ep.breaker.Allow()
	if err != nil {
		c.metrics.calls.WithLabelValues(ep.name, "breaker open").Inc()
		e := failure(reason.Unavailable, "breaker open")
		e.endpoint = ep.name
		return e
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
	case e == nil:
		promise.Accept()
		return nil
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errOwnTimeout):
		// A canceled caller says nothing about WeChat.
	case e.isDown():
		promise.Reject(e.Error())
	default:
		promise.Accept()
	}
	return e
}

// attempt makes one request with its own weapp client, and measures it. Its span replaces that of
// otelhttp, which would record the whole URL, with secrets.
func (c *Client) attempt(
	ctx context.Context, ep *endpoint, token string, do func(*weapp.Client) error,
) *Error {
	ctx, span := otel.Tracer("shares/wechat").Start(ctx, "wechat "+ep.name,
		trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
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
	label := "0"
	if e != nil {
		e.endpoint, label = ep.name, e.label
		span.SetStatus(codes.Error, e.Error())
	}
	c.metrics.calls.WithLabelValues(ep.name, label).Inc()
	c.note(ctx, ep, e)
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
