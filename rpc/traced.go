package rpc

import (
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// traced makes a span of each call to WeChat. The usual instrumentation notes
// the whole address, and WeChat's hold the secret, codes and tokens.
type traced struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := otel.Tracer("shares/wechat").Start(r.Context(), "wechat "+r.URL.Path, oteltrace.WithSpanKind(oteltrace.SpanKindClient))
	defer span.End()
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		span.SetStatus(otelcodes.Error, "no answer")
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	return resp, nil
}
