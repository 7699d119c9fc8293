// Package api is the HTTP edge of shares: the endpoints of shares.api, their
// sessions, limits and answers. It knows users only through the generated rpc
// client. main makes its handler and serves it.
package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/rest/chain"
	resthandler "github.com/zeromicro/go-zero/rest/handler"

	"shares/api/internal/edge"
	"shares/api/internal/handler"
	"shares/api/internal/limit"
	"shares/api/internal/middleware"
	"shares/api/internal/pictures"
	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/internal/config"
	"shares/internal/devhost"
	"shares/rpc/pb"
)

// Deps are the dependencies of the edge.
type Deps struct {
	Users    pb.WeixinClient       // the user service: in this process or behind zRPC
	Pictures pictures.Store        // what QR codes are served from
	Redis    redis.UniversalClient // counts logins per address
	Secrets  []string              // session secrets: the first signs, all verify
	Memory   int64                 // of the process, in bytes
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
	Around   func(routes http.Handler) (http.Handler, error) // adds other paths behind the edge; nil: none
}

// Handler returns the whole edge as one http.Handler. Its errors are mistakes
// in the configuration.
func Handler(c config.Config, p Deps) (http.Handler, error) {
	tokens, err := session.NewTokens(p.Secrets, c.SessionLifetime, c.SessionMaxAge, p.Now)
	if err != nil {
		return nil, err
	}
	proxies, err := c.Proxies()
	if err != nil {
		return nil, err
	}
	addresses, err := edge.NewAddresses(proxies, p.Log, p.Metrics)
	if err != nil {
		return nil, err
	}
	logins, callers, err := limits(c, p)
	if err != nil {
		return nil, err
	}
	svcCtx := svc.NewServiceContext(c, svc.Deps{
		Users:    p.Users,
		Sessions: tokens,
		Pictures: pictures.Addresses{Public: c.QRCodePublicURL, Base: c.PublicURL},
		Logins:   logins,
		Callers:  callers,
		Address:  addresses.Of,
	})
	server, next, err := routes(c, p, svcCtx)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	opts := edge.Options{
		Timeout:     c.Timeout,
		UploadPath:  uploadPath,
		UploadTime:  c.UploadTime(),
		MaxInFlight: c.MaxInFlight,
		Waiting:     waiting(c),
		Memory:      p.Memory / 8,
		Envelope:    c.Envelope,
		Secure:      strings.HasPrefix(c.PublicURL, "https://"),
		Routes:      paths(server),
		Log:         p.Log,
		AccessLog:   c.AccessLog == "on",
		Metrics:     p.Metrics,
	}
	if err := origins(c, &opts); err != nil {
		return nil, err
	}
	return edge.New(opts, next), nil
}

// waiting returns the endpoints that may wait for WeChat.
func waiting(c config.Config) []string {
	paths := []string{"oauth", "get_qrcode", "upset_user_info"}
	if c.ContentCheck == "on" {
		paths = append(paths, "update_user_info")
	}
	for i, name := range paths {
		paths[i] = strings.TrimSuffix(uploadPath, "upload_avatar") + name
	}
	return paths
}

// routes returns the handler of all routes. go-zero's middlewares are replaced
// by the edge around it.
func routes(c config.Config, p Deps, svcCtx *svc.ServiceContext) (*rest.Server, http.Handler, error) {
	around := chain.New()
	if c.OTLPEndpoint != "" {
		around = around.Append(resthandler.TraceHandler("shares", ""))
	}
	server, err := rest.NewServer(restConf(), rest.WithChain(around),
		rest.WithNotFoundHandler(http.HandlerFunc(edge.NotFound)),
		rest.WithNotAllowedHandler(edge.MethodNotAllowed(allowed)))
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
	serverless, err := rest.NewServerless(server)
	if err != nil {
		return nil, nil, err
	}
	var next http.Handler = http.HandlerFunc(serverless.Serve)
	if p.Around != nil {
		if next, err = p.Around(next); err != nil {
			return nil, nil, err
		}
	}
	if c.PublicURL == "" && !c.Pro() {
		next = rememberAddress(next)
	}
	return server, next, nil
}

// origins sets which web pages may call and, in dev mode, by which host names.
func origins(c config.Config, opts *edge.Options) error {
	listed, err := c.Origins()
	public, publicErr := c.PublicOrigin()
	if err := errors.Join(err, publicErr); err != nil {
		return err
	}
	if public != "" {
		listed = append(listed, public)
	}
	opts.Origins = edge.Origins{Admitted: listed, Own: public == "" || !c.Pro(), Local: !c.Pro()}
	if c.Pro() {
		return nil
	}
	opts.Hosts = append(devhost.Machine(), strings.ToLower(c.Host))
	for _, origin := range listed {
		if u, err := url.Parse(origin); err == nil {
			opts.Hosts = append(opts.Hosts, u.Hostname())
		}
	}
	return nil
}

// uploadPath is the endpoint behind the middleware Upload.
const uploadPath = "/shares/api/v1/weixin.upload_avatar"

func limits(c config.Config, p Deps) (middleware.LoginLimit, middleware.UserLimit, error) {
	if c.RateLimit == "off" {
		return limit.OffLogins{}, limit.OffUsers{}, nil
	}
	metrics := limit.NewMetrics(p.Metrics)
	users, err := limit.NewUsers(c.UserPerSecond, c.UserBurst, metrics)
	if err != nil {
		return nil, nil, fmt.Errorf("rate limits: %w", err)
	}
	return limit.NewLogins(p.Redis, c.LoginPerMinute, p.Log, metrics), users, nil
}

// restConf is go-zero's configuration of a server that never listens: main
// owns the listener, so that it can turn unready before it closes.
func restConf() rest.RestConf {
	var rc rest.RestConf
	rc.Name = "shares"
	rc.Log.Stat = false
	rc.Log.Mode = "console"
	return rc
}

func paths(server *rest.Server) []string {
	var paths []string
	for _, route := range server.Routes() {
		if !slices.Contains(paths, route.Path) {
			paths = append(paths, route.Path)
		}
	}
	return paths
}

// allowed tells the methods of a path: pictures are read, endpoints are called.
func allowed(path string) string {
	if strings.HasPrefix(path, pictures.Prefix) {
		return http.MethodGet + ", " + http.MethodHead
	}
	return http.MethodPost
}

// rememberAddress lets picture addresses hold the host that the request came
// to, so that a phone on the same network can open them (dev mode only).
func rememberAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(pictures.Remember(r.Context(), r)))
	})
}
