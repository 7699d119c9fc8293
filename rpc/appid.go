package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// appIDKey is the key of the caller's AppID in gRPC metadata.
const appIDKey = "wechat-appid"

// SendAppID returns an interceptor that sends the AppID of an api with each call.
func SendAppID(appID string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx = metadata.AppendToOutgoingContext(ctx, appIDKey, appID)
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// sameApp returns an interceptor that refuses calls from an api with another AppID, because the two
// would use different keys in Redis. Calls without an AppID are not from an api.
func sameApp(appID string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		for _, other := range metadata.ValueFromIncomingContext(ctx, appIDKey) {
			if other != appID {
				return nil, status.Errorf(codes.Unavailable,
					"WECHAT_APPID: %q in api, but %q in rpc: set the same", other, appID)
			}
		}
		return next(ctx, req)
	}
}
