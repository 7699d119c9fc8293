package errmap

import (
	"context"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Counter returns the interceptor that counts calls by method and gRPC code, and times them by
// method. In one process with api, the edge does that.
func Counter(reg prometheus.Registerer) grpc.UnaryServerInterceptor {
	calls := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "shares_rpc_requests_total", Help: "Calls answered, by method and gRPC code.",
	}, []string{"method", "code"})
	seconds := promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
		Name: "shares_rpc_request_seconds", Help: "Duration of calls, from the received message to the answer, by method.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"method"})
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		start := time.Now()
		resp, err := next(ctx, req)
		method := path.Base(info.FullMethod)
		calls.WithLabelValues(method, status.Code(err).String()).Inc()
		seconds.WithLabelValues(method).Observe(time.Since(start).Seconds())
		return resp, err
	}
}
