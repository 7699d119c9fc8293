// Package errmap turns what went wrong in the parts that rpc works with into
// the reasons that its callers know, in one place, and logs there what an
// operator should see. Logic returns errors as they come.
package errmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"shares/internal/pictures"
	"shares/internal/quota"
	"shares/internal/reason"
	"shares/internal/requestid"
	"shares/model"
	"shares/rpc/internal/avatar"
	"shares/rpc/internal/wechat"
)

// Interceptor returns the interceptor that stands before every method: it
// converts errors and turns a panic into INTERNAL.
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

// Convert returns err as an error with a reason; one that carries a reason
// stays what it is.
func Convert(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if we, ok := errors.AsType[*wechat.Error](err); ok {
		return fromWechat(we)
	}
	if full, ok := errors.AsType[*quota.Error](err); ok {
		return reason.Error(reason.RateLimited, "retry_after", full.Seconds())
	}
	switch {
	case errors.Is(err, context.Canceled):
		return reason.Error(reason.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return reason.Error(reason.DeadlineExceeded)
	case errors.Is(err, avatar.ErrNotPicture):
		return reason.Field("file", "picture")
	case errors.Is(err, avatar.ErrTooLarge):
		return reason.Field("file", "picture_size", "max", strconv.Itoa(avatar.MaxPixels/1_000_000))
	case errors.Is(err, avatar.ErrAnimation):
		return reason.Field("file", "animation")
	case errors.Is(err, pictures.ErrUnavailable), model.IsUnavailable(err):
		return reason.Error(reason.Unavailable)
	}
	return reason.Error(reason.Internal)
}

func fromWechat(err *wechat.Error) error {
	switch err.Kind {
	case wechat.CodeRefused:
		return reason.Error(reason.LoginCodeRefused)
	case wechat.Busy:
		return reason.Error(reason.RateLimited, "retry_after", "60") // WeChat counts by the minute
	case wechat.Blocked:
		return reason.Error(reason.UserBlocked)
	case wechat.InvalidArgument:
		switch err.Field {
		case "scene":
			return reason.Field("scene", "scene")
		case "page":
			return reason.Field("page", "page_unpublished")
		}
		return reason.Error(reason.Internal)
	case wechat.BadAnswer:
		return reason.Error(reason.WechatBadAnswer)
	case wechat.Misconfigured, wechat.Unavailable:
		return reason.Error(reason.Unavailable)
	case wechat.Deadline:
		return reason.Error(reason.DeadlineExceeded)
	case wechat.Canceled:
		return reason.Error(reason.Canceled)
	}
	return reason.Error(reason.Internal)
}
