package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/health" // the client side of healthCheckConfig
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver/dns"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"shares/internal/requestid"
	"shares/rpc"
	"shares/rpc/pb"
)

func (p *program) openRPC() error {
	// By default gRPC resolves names at most every 30 s, which is too slow for a rollout.
	dns.SetMinResolutionInterval(2 * time.Second)
	conf := zrpc.RpcClientConf{
		Target:   p.config.RPCTarget,
		NonBlock: true,
		Timeout:  p.config.RPCTimeout.Milliseconds(),
	}
	conf.Middlewares.Timeout = true
	conf.Middlewares.Trace = p.config.OTLPEndpoint != ""
	client, err := zrpc.NewClient(conf,
		zrpc.WithUnaryClientInterceptor(requestid.UnaryClientInterceptor),
		zrpc.WithUnaryClientInterceptor(rpc.SendAppID(p.appID())),
		zrpc.WithUnaryClientInterceptor(hedge(hedgeAfter)),
		zrpc.WithDialOption(grpc.WithDefaultServiceConfig(rpcServiceConfig)),
		// A dead node closes no connections: without pings, calls to it hang until their deadline.
		zrpc.WithDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true,
		})))
	if err != nil {
		return fmt.Errorf("WEIXIN_RPC_TARGET: %w", err)
	}
	p.conn = client.Conn()
	p.conn.Connect()
	p.onClose(p.conn.Close)
	p.parts = append(p.parts, part{"Users", p.config.RPCTarget, func(ctx context.Context, _ report) error { return p.askRPC(ctx) }})
	return nil
}

func (p *program) askRPC(ctx context.Context) error {
	_, err := healthpb.NewHealthClient(p.conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.DeadlineExceeded, codes.Canceled:
		return errors.New("the user service does not answer: check WEIXIN_RPC_TARGET")
	}
	// rpc refuses every call of an api with another AppID.
	return fmt.Errorf("the user service refuses calls: %s", status.Convert(err).Message())
}

// rpcServiceConfig sends each call to the replica with the fewest calls, and none to replicas that
// are shutting down: their health checks answer NOT_SERVING. A read that fails with UNAVAILABLE is
// retried once.
const rpcServiceConfig = `{
	"loadBalancingConfig": [{"` + leastrequest.Name + `": {"choiceCount": 10}}],
	"healthCheckConfig": {"serviceName": ""},
	"methodConfig": [{
		"name": [{"service": "weixin.Weixin", "method": "GetUser"}],
		"retryPolicy": {
			"maxAttempts": 2, "initialBackoff": "0.02s", "maxBackoff": "0.1s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`

const (
	// hedgeAfter is the time after which an unanswered GetUser is sent again.
	hedgeAfter = 300 * time.Millisecond
	// maxHedges bounds the concurrent repetitions, so that they cannot double the load when every
	// rpc is slow.
	maxHedges = 64
)

// hedge returns an interceptor that sends a GetUser again after each interval without an answer,
// and returns the first answer. grpc-go has no hedging policy, and pings detect a hung rpc only
// after seconds. The balancer picks the replica with the fewest calls, so the repetition goes to
// another one.
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
