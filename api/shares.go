// Package api is the HTTP edge of shares: the endpoints of shares.api, their sessions, limits and
// answers. It accesses users only through the generated rpc client.
package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/rest/chain"
	resthandler "github.com/zeromicro/go-zero/rest/handler"

	"shares/api/internal/answer"
	"shares/api/internal/auth"
	"shares/api/internal/edge"
	"shares/api/internal/handler"
	"shares/api/internal/limit"
	"shares/api/internal/middleware"
	"shares/api/internal/pictures"
	"shares/api/internal/push"
	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/internal/config"
	"shares/internal/quota"
	"shares/internal/reason"
	"shares/rpc/pb"
)

// Deps are the dependencies of the edge.
type Deps struct {
	Users    pb.WeixinClient       // the user service: in this process or behind zRPC
	Pictures pictures.Store        // the QR codes and avatars
	Redis    redis.UniversalClient // counts logins per address
	Secrets  []string              // session secrets: the first signs, all verify
	Memory   int64                 // memory limit of the process, in bytes
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
	Services edge.Services                                   // /wechat/ and /users of the internal port; nil: none
	Around   func(routes http.Handler) (http.Handler, error) // adds paths behind the edge; nil: none
}

// Handlers returns the edge, for the public port, and the handler of the internal port. Its errors
// are errors in the configuration.
func Handlers(c config.Config, p Deps) (public, internal http.Handler, err error) {
	svcCtx, err := serviceContext(c, p)
	if err != nil {
		return nil, nil, err
	}
	server, next, err := routes(c, p, svcCtx)
	if err != nil {
		return nil, nil, fmt.Errorf("routes: %w", err)
	}
	var paths []string
	for _, route := range server.Routes() {
		if !slices.Contains(paths, route.Path) {
			paths = append(paths, route.Path)
		}
	}
	e, err := edge.New(edge.Options{Config: c, Memory: p.Memory / 8, Routes: paths, Log: p.Log, Metrics: p.Metrics}, next)
	if err != nil {
		return nil, nil, err
	}
	return e, e.Internal(auth.Handler(svcCtx.Sessions, p.Users), p.Services), nil
}

// PushPath is the path of the push address.
const PushPath = push.Path

// LoginKeys begins the names of the Redis keys that count logins per address.
const LoginKeys = "login:"

// serviceContext returns the dependencies and the middlewares of the handlers.
func serviceContext(c config.Config, p Deps) (*svc.ServiceContext, error) {
	proxies, err := c.Proxies()
	if err != nil {
		return nil, err
	}
	if c.RateLimit == "off" {
		c.LoginPerMinute, c.UserPerSecond = 0, 0
	}
	users, err := limit.NewUsers(c.UserPerSecond, c.UserBurst)
	if err != nil {
		return nil, fmt.Errorf("rate limits: %w", err)
	}
	tokens := session.NewTokens(p.Secrets, c.SessionLifetime, c.SessionMaxAge, p.Now)
	auto := promauto.With(p.Metrics)
	refused := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_limit_refused_total", Help: "Requests refused by a rate limit.",
	}, []string{"limit"})
	logins := &quota.Limit{
		Redis: p.Redis, Prefix: c.RedisKey(LoginKeys), Window: time.Minute, Max: c.LoginPerMinute, Log: p.Log,
		Open: auto.NewCounter(prometheus.CounterOpts{
			Name: "shares_limit_open_total", Help: "Logins admitted without being counted, because Redis was unavailable.",
		}),
	}
	credentials := &middleware.Credentials{Tokens: tokens, Users: users, Refused: refused.WithLabelValues("user")}
	oauth := &middleware.OauthLimitMiddleware{
		Logins:  logins,
		Address: edge.NewAddresses(proxies, p.Log, p.Metrics).Of,
		Refused: refused.WithLabelValues("login"),
	}
	return &svc.ServiceContext{
		Users:           p.Users,
		Sessions:        tokens,
		Pictures:        pictures.Addresses{Public: c.QRCodePublicURL, Base: c.PublicURL},
		OauthLimit:      oauth.Handle,
		OptionalSession: middleware.NewOptionalSessionMiddleware(credentials).Handle,
		BodySession:     middleware.NewBodySessionMiddleware().Handle,
		Session:         middleware.NewSessionMiddleware(credentials).Handle,
		Upload:          (&middleware.UploadMiddleware{Receive: c.UploadTime(), Timeout: c.Timeout}).Handle,
	}, nil
}

// routes returns the handler of all routes. The edge replaces go-zero's middlewares.
func routes(c config.Config, p Deps, svcCtx *svc.ServiceContext) (*rest.Server, http.Handler, error) {
	around := chain.New()
	if c.OTLPEndpoint != "" {
		around = around.Append(resthandler.TraceHandler("shares", ""))
	}
	// The server does not listen: main owns the listener, so that the process turns unready before
	// the listener closes.
	var rc rest.RestConf
	rc.Name = "shares"
	rc.Log.Stat = false
	rc.Log.Mode = "console"
	var server *rest.Server
	server, err := rest.NewServer(rc, rest.WithChain(around),
		rest.WithNotFoundHandler(http.HandlerFunc(edge.NotFound)),
		rest.WithNotAllowedHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allowed(server.Routes(), r.URL.Path))
			answer.Error(w, r, reason.Error(reason.MethodNotAllowed))
		})))
	if err != nil {
		return nil, nil, err
	}
	handler.RegisterHandlers(server, svcCtx)
	show := pictures.Handler(p.Pictures)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, path := range pictures.Paths {
			server.AddRoute(rest.Route{Method: method, Path: path, Handler: show})
		}
	}
	if c.PushToken != "" {
		receiver := push.New(c, p.Users, p.Log, p.Metrics, p.Now)
		server.AddRoute(rest.Route{Method: http.MethodGet, Path: push.Path, Handler: receiver.Prove})
		server.AddRoute(rest.Route{Method: http.MethodPost, Path: push.Path, Handler: receiver.Receive})
	}
	serverless, err := rest.NewServerless(server)
	if err != nil {
		return nil, nil, err
	}
	var next http.Handler = http.HandlerFunc(serverless.Serve)
	if p.Around != nil {
		next, err = p.Around(next)
	}
	return server, next, err
}

// allowed returns the value of the Allow header for a path.
func allowed(routes []rest.Route, path string) string {
	var methods []string
	for _, route := range routes {
		if edge.Matches(route.Path, path) && !slices.Contains(methods, route.Method) {
			methods = append(methods, route.Method)
		}
	}
	return strings.Join(methods, ", ")
}
