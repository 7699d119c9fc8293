// Package errmap converts errors at the edge of the user service: each is answered with its reason,
// and failures that concern the operator are logged. Logic returns errors unchanged.
package errmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/internal/requestid"
	"shares/model"
)

// Interceptor returns the interceptor that converts the errors of every method and turns a panic
// into INTERNAL.
func Interceptor(log *slog.Logger) grpc.UnaryServerInterceptor {
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
		converted := Convert(err)
		switch why, _ := reason.Of(converted); why {
		case reason.Internal, reason.Unavailable, reason.WechatBadAnswer, reason.DeadlineExceeded:
			log.Error("call failed", "method", info.FullMethod,
				"request_id", requestid.FromContext(ctx), "reason", string(why), "error", err)
		}
		return nil, converted
	}
}

// Convert returns the error of package reason that err wraps. Otherwise it returns UNAVAILABLE for
// an unavailable bucket or database, the reason of a context error, or INTERNAL.
func Convert(err error) error {
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
