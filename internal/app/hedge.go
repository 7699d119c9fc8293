package app

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"shares/rpc/pb"
)

const (
	// hedgeAfter is how long rpc has to answer a GetUser before it is asked once more.
	hedgeAfter = 300 * time.Millisecond
	// maxHedges bounds the repeated calls at once: when every rpc is slow, they must not double
	// the load.
	maxHedges = 64
)

// hedge returns an interceptor that repeats a GetUser each time it has not been answered for the
// given time, and takes the first answer: grpc-go has no hedging policy, and pings notice an rpc
// that hangs only after seconds. The balancer sends each call to the rpc that has the fewest, which
// is another one.
func hedge(after time.Duration) grpc.UnaryClientInterceptor {
	slots := make(chan struct{}, maxHedges)
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method != pb.Weixin_GetUser_FullMethodName {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		type answer struct {
			user *pb.User
			err  error
		}
		answers := make(chan answer)
		ask := func() {
			a := answer{user: new(pb.User)}
			a.err = invoke(ctx, method, req, a.user, cc, opts...)
			select {
			case answers <- a:
			case <-ctx.Done():
			}
		}
		go ask()
		again := time.NewTicker(after)
		defer again.Stop()
		for running := 1; ; {
			select {
			case <-again.C:
				select {
				case slots <- struct{}{}:
					running++
					go func() { ask(); <-slots }()
				default:
				}
			case a := <-answers:
				if running--; running > 0 && unanswered(a.err) {
					continue
				}
				proto.Merge(reply.(*pb.User), a.user)
				return a.err
			case <-ctx.Done():
				return status.FromContextError(ctx.Err()).Err()
			}
		}
	}
}

// unanswered reports whether a call ended without an answer of the user service.
func unanswered(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return false
}
