package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/internal/requestid"
	"shares/model"
)

// convertErrors returns the interceptor that converts the errors of every method and turns a panic
// into INTERNAL. It logs failures that concern the operator.
func convertErrors(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("panic", "method", info.FullMethod, "request_id", requestid.FromContext(ctx),
					"type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
				resp, err = nil, reason.Error(reason.Internal)
			}
		}()
		resp, err = next(ctx, req)
		if err == nil {
			return resp, nil
		}
		converted := convert(err)
		switch why, _ := reason.Of(converted); why {
		case reason.Internal, reason.Unavailable, reason.WechatBadAnswer, reason.DeadlineExceeded:
			log.Error("call failed", "method", info.FullMethod,
				"request_id", requestid.FromContext(ctx), "reason", string(why), "error", err)
		}
		return nil, converted
	}
}

// convert returns the error of package reason that err wraps. Otherwise it returns UNAVAILABLE for
// an unavailable bucket or database, the reason of a context error, or INTERNAL.
func convert(err error) error {
	if s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return s
	}
	if errors.Is(err, pictures.ErrUnavailable) || model.IsUnavailable(err) {
		return reason.Error(reason.Unavailable)
	}
	why, _ := reason.Of(err)
	return reason.Error(why)
}

// count returns the interceptor that counts calls by method and gRPC code, and times them by
// method. In one process with api, the edge does that.
func count(reg prometheus.Registerer) grpc.UnaryServerInterceptor {
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
