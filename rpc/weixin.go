// Package rpc is the user service behind the HTTP edge: login, profile, settings, QR codes and all
// calls to WeChat. It handles user ids, never HTTP, cookies or session tokens. It runs behind zRPC
// or in one process with api.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"shares/internal/config"
	"shares/internal/inproc"
	"shares/internal/pictures"
	"shares/internal/quota"
	"shares/model"
	"shares/rpc/account"
	"shares/rpc/internal/avatar"
	"shares/rpc/internal/qrcode"
	"shares/rpc/internal/server"
	"shares/rpc/internal/single"
	"shares/rpc/internal/svc"
	"shares/rpc/internal/wechat"
	"shares/rpc/pb"
)

// Deps are the dependencies of the service.
type Deps struct {
	Users    model.WxUserinfoModel
	Redis    redis.UniversalClient
	Pictures *pictures.Store
	Memory   int64 // memory limit of the process, in bytes
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
}

// Service is the user service.
type Service struct {
	config config.Config
	deps   Deps
	server pb.WeixinServer
	wechat *wechat.Client
}

// New returns the service. It fails if the configuration is wrong.
func New(c config.Config, p Deps) (*Service, error) {
	client, err := wechat.New(wechat.Options{
		AppID:    c.WechatAppID,
		Secret:   c.WechatSecret,
		BaseURL:  c.WechatBaseURL,
		Redis:    p.Redis,
		TokenKey: c.RedisKey(tokenKey),
		Timeout:  c.WechatTimeout,
		Logger:   p.Log,
		Metrics:  p.Metrics,
		Now:      p.Now,
	})
	if err != nil {
		return nil, err
	}
	codes, err := qrcode.New(qrcode.Options{
		Config:  c,
		Maker:   client,
		Store:   p.Pictures,
		Redis:   p.Redis,
		Log:     p.Log,
		Metrics: p.Metrics,
	})
	if err != nil {
		return nil, err
	}
	avatars := &quota.Limit{
		Redis:  p.Redis,
		Prefix: c.RedisKey(avatarKeys),
		Window: 24 * time.Hour,
		Max:    c.AvatarsPerUserDay,
		Log:    p.Log,
	}
	return &Service{c, p, server.NewWeixinServer(&svc.ServiceContext{
		Config:      c,
		Users:       p.Users,
		Wechat:      client,
		QRCode:      codes.Name,
		MakeAvatar:  avatar.NewMaker().Make,
		CountAvatar: avatars.Take,
		PutPicture:  p.Pictures.Put,
		Accounts:    &account.Cleaner{Users: p.Users, Pictures: p.Pictures, Log: p.Log},
		Now:         p.Now,
		Log:         p.Log,
	}), client}, nil
}

// Client returns a client whose calls are function calls within this process.
func (s *Service) Client() pb.WeixinClient {
	return pb.NewWeixinClient(inproc.New(&pb.Weixin_ServiceDesc, s.server, convertErrors(s.deps.Log)))
}

// CheckWechat requests an access token from WeChat. Its error says what to do about refused
// settings.
func (s *Service) CheckWechat(ctx context.Context) error { return s.wechat.CheckToken(ctx) }

// Names of keys in Redis, or their beginnings.
const (
	tokenKey   = "token"
	avatarKeys = "avatar:user:"
)

// ProbeRedis runs the service's Redis commands, except those of the user cache, on probe keys. It
// reports each step and its error.
func ProbeRedis(ctx context.Context, client redis.UniversalClient, c config.Config,
	report func(step string, err error)) {
	code, token := c.RedisKey("qrcode:probe"), c.RedisKey(tokenKey+":probe")
	report("quota of QR codes", quota.Probe(ctx, client, code))
	report("quota of avatars", quota.Probe(ctx, client, c.RedisKey(avatarKeys+"probe")))
	report("lock of a QR code", single.Probe(ctx, client, code+":lock"))
	report("store and read the access token", wechat.ProbeRedis(ctx, client, token))
	report("lock of the access token", single.Probe(ctx, client, token+":lock"))
}

// Serve serves zRPC until ctx ends. Health checks are then answered with NOT_SERVING for
// SHARES_DRAIN, so that clients send no new calls, and running calls may finish within
// SHARES_SHUTDOWN. Serve returns the error of net.Listen, or an error if calls were still running.
//
// Only zRPC's tracing interceptor is used: its stat interceptor logs every message, and its breaker
// counts users' mistakes as faults. convertErrors recovers panics, and the client sets deadlines.
func (s *Service) Serve(ctx context.Context) error {
	// zRPC's own Health stays off: it answers NOT_SERVING too late.
	conf := zrpc.RpcServerConf{ListenOn: s.config.RPCListen}
	conf.Name = "shares-rpc"
	conf.Log.Mode = "console"
	conf.Middlewares.Trace = s.config.OTLPEndpoint != ""
	health := health.NewServer()
	registered := make(chan *grpc.Server, 1)
	server, err := zrpc.NewServer(conf, func(g *grpc.Server) {
		pb.RegisterWeixinServer(g, s.server)
		healthpb.RegisterHealthServer(g, health)
		registered <- g
	})
	if err != nil {
		return fmt.Errorf("zrpc: %w", err)
	}
	server.AddUnaryInterceptors(count(s.deps.Metrics), convertErrors(s.deps.Log), sameApp(s.config.WechatAppID))
	server.AddOptions(grpc.InTapHandle(newBounds(s.config.MaxInFlight, s.deps.Memory).tap))
	server.AddOptions(grpc.KeepaliveParams(keepalive.ServerParameters{
		// api looks for new replicas when a connection ends.
		MaxConnectionAge:      10 * time.Second,
		MaxConnectionAgeGrace: s.config.RPCTimeout + time.Second,
		Time:                  20 * time.Second,
		Timeout:               5 * time.Second,
	}), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}))
	failed := make(chan any, 1)
	go func() {
		defer func() { failed <- recover() }() // Start panics if it cannot listen
		server.Start()
	}()
	select {
	case why := <-failed:
		err, _ := why.(error)
		return err
	case <-ctx.Done():
	}
	health.Shutdown()
	time.Sleep(s.config.Drain)
	stopped := make(chan struct{})
	go func() { (<-registered).GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
		return nil
	case <-time.After(s.config.Grace()):
		return errors.New("rpc server: calls were still running at the end of SHARES_SHUTDOWN")
	}
}
