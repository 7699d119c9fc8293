package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/connectivity"
	_ "google.golang.org/grpc/health" // the client side of healthCheckConfig
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver/dns"

	"shares/internal/requestid"
	"shares/rpc/pb"
)

// serveAPI runs the HTTP edge alone; the user service is behind zRPC.
func (p *program) serveAPI(ctx context.Context, _ []string) error {
	p.startTraces("shares-api")
	if err := errors.Join(p.openRedis(), p.openPictures(), p.openSecrets(), p.openRPC()); err != nil {
		return err
	}
	return p.serveHTTP(ctx, pb.NewWeixinClient(p.rpc))
}

func (p *program) openRPC() error {
	// gRPC looks names up again at most every 30 s, which is long for a rollout.
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
		zrpc.WithUnaryClientInterceptor(hedge(hedgeAfter)),
		zrpc.WithDialOption(grpc.WithDefaultServiceConfig(rpcServiceConfig)),
		// A node that dies says nothing: without pings its calls hang to their deadline.
		zrpc.WithDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true,
		})))
	if err != nil {
		return fmt.Errorf("WEIXIN_RPC_TARGET: %w", err)
	}
	p.rpc = client.Conn()
	p.rpc.Connect()
	p.onClose(p.rpc.Close)
	p.parts = append(p.parts, part{"Users", p.config.RPCTarget, p.askRPC, true})
	return nil
}

// askRPC waits until the user service is connected.
func (p *program) askRPC(ctx context.Context) error {
	for s := p.rpc.GetState(); s != connectivity.Ready; s = p.rpc.GetState() {
		if !p.rpc.WaitForStateChange(ctx, s) {
			return errors.New("the user service does not answer: check WEIXIN_RPC_TARGET")
		}
	}
	return nil
}

// rpcServiceConfig sends each call to the replica that has the fewest, and none to replicas that
// shut down: they say NOT_SERVING to health checks. A read that met one of those is repeated once.
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
