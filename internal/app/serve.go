package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"shares/api"
	"shares/internal/page"
	"shares/internal/process"
	"shares/rpc"
	"shares/rpc/pb"
)

func (p *program) serve(ctx context.Context, _ []string) error {
	p.startTraces("shares")
	if err := p.openUsers(ctx); err != nil {
		return err
	}
	if err := errors.Join(p.openPictures(), p.openSecrets(), p.openWechat()); err != nil {
		return err
	}
	if err := p.openService(); err != nil {
		return err
	}
	return p.serveHTTP(ctx, p.service.Client(), p.service.Services(api.Avatars(p.config)))
}

func (p *program) serveAPI(ctx context.Context, _ []string) error {
	p.startTraces("shares-api")
	if err := errors.Join(p.openRedis(), p.openPictures(), p.openSecrets(), p.openRPC()); err != nil {
		return err
	}
	return p.serveHTTP(ctx, pb.NewWeixinClient(p.conn), nil)
}

func (p *program) serveRPC(ctx context.Context, _ []string) error {
	p.startTraces("shares-rpc")
	if err := errors.Join(p.openUsers(ctx), p.openPictures()); err != nil {
		return err
	}
	if err := p.openService(); err != nil {
		return err
	}
	services := p.service.Services(api.Avatars(p.config))
	internal, err := api.Internal(p.config, api.Deps{Services: services, Log: p.log, Metrics: p.metrics})
	if err != nil {
		return err
	}
	listener, err := p.listenInternal(ctx, false)
	if err != nil {
		return err
	}
	if err := p.startAdmin(ctx); err != nil {
		return err
	}
	p.say(ctx, "shares rpc "+p.version+" on "+p.config.RPCListen)
	p.ownShutdown()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.service.Serve(ctx) })
	if listener != nil {
		g.Go(func() error { return p.http(listener, internal, p.memory/8).Run(ctx) })
	}
	err = g.Wait()
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return listenError("SHARES_RPC_LISTEN", err)
	}
	return err
}

func (p *program) openService() (err error) {
	p.service, err = rpc.New(p.config, rpc.Deps{
		Users:    p.users,
		Redis:    p.redis,
		Pictures: p.pictures,
		Memory:   p.memory,
		Log:      p.log,
		Metrics:  p.metrics,
		Now:      time.Now,
	})
	return err
}

// serveHTTP serves the edge until ctx ends. Then it drains and finishes running requests within
// SHARES_SHUTDOWN.
func (p *program) serveHTTP(ctx context.Context, users pb.WeixinClient, services api.Services) error {
	public, internal, err := api.Handlers(p.config, api.Deps{
		Users:    users,
		Pictures: p.pictures,
		Redis:    p.redis,
		Secrets:  p.secrets,
		Memory:   p.memory,
		Log:      p.log,
		Metrics:  p.metrics,
		Now:      time.Now,
		Services: services,
		Around:   p.devHandlers,
	})
	if err != nil {
		return err
	}
	listener, err := p.listen(ctx)
	if err != nil {
		return err
	}
	if p.wechat != nil {
		port := listener.Addr().(*net.TCPAddr).Port
		p.wechat.SetPushURL(fmt.Sprintf("http://127.0.0.1:%d%s", port, api.PushPath))
	}
	internalListener, err := p.listenInternal(ctx, p.conn == nil && !p.config.Pro())
	if err != nil {
		return err
	}
	if err := p.startAdmin(ctx); err != nil {
		return err
	}
	p.sayHello(ctx, listener.Addr())
	p.ownShutdown()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.http(listener, public, p.memory/4).Run(ctx) })
	if internalListener != nil {
		g.Go(func() error { return p.http(internalListener, internal, p.memory/8).Run(ctx) })
	}
	return g.Wait()
}

// http returns a server whose connections share the memory.
func (p *program) http(listener net.Listener, handler http.Handler, memory int64) *process.HTTP {
	return &process.HTTP{
		Handler:  handler,
		Listener: listener,
		Memory:   memory,
		Timeout:  p.config.Timeout,
		Drain:    p.config.Drain,
		Grace:    p.config.Grace(),
	}
}

// devHandlers adds the page and the simulator's control paths in dev mode. The edge checks their
// Host and Origin as it does for the routes.
func (p *program) devHandlers(routes http.Handler) (http.Handler, error) {
	if p.config.Pro() {
		return routes, nil
	}
	p.addPart("Page", "at / for a browser: a simulated phone and its requests; the API's description at /openapi.json")
	return page.Handler(page.Options{Version: p.version, Simulated: p.wechat != nil},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p.wechat != nil && strings.HasPrefix(r.URL.Path, controlPrefix) {
				p.wechat.Control().ServeHTTP(w, r)
				return
			}
			routes.ServeHTTP(w, r)
		}))
}

// fallbackPort is the port in dev mode if the configured one needs privileges that the user lacks.
const fallbackPort = 8082

func (p *program) listen(ctx context.Context) (net.Listener, error) {
	host := p.host()
	address := net.JoinHostPort(host, strconv.Itoa(p.config.Port))
	listener, err := process.Listen(ctx, address)
	if errors.Is(err, syscall.EACCES) && !p.config.Pro() {
		p.addPart("Port", fmt.Sprintf("%d needs privileges that you lack: using %d instead",
			p.config.Port, fallbackPort))
		address = net.JoinHostPort(host, strconv.Itoa(fallbackPort))
		listener, err = process.Listen(ctx, address)
	}
	if err != nil {
		return nil, listenError("SHARES_HOST and SHARES_PORT", err)
	}
	return listener, nil
}

// listenError adds the setting and a remedy to the error of a net.Listen.
func listenError(setting string, err error) error {
	return fmt.Errorf("%s: %w: set another address or a port of 1024 or more, or stop the process that "+
		"uses the port", setting, err)
}
