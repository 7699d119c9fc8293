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

	"shares/api"
	"shares/internal/config"
	"shares/internal/page"
	"shares/internal/process"
	"shares/rpc/pb"
)

// serve runs both halves in one process.
func serve(ctx context.Context, file string, build Build) (err error) {
	p, err := load(file, config.RoleServe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.build = build
	p.startTraces("shares")
	if err := p.lockData(); err != nil {
		return err
	}
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx), p.openPictures(), p.openSecrets(), p.openWechat()); err != nil {
		return err
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	return p.serveHTTP(ctx, users.Client())
}

// serveHTTP serves the edge until ctx ends, and then as long as it takes to
// finish, within the configured time.
func (p *program) serveHTTP(ctx context.Context, users pb.WeixinClient) error {
	handler, err := api.Handler(p.config, api.Deps{
		Users:    users,
		Pictures: p.pictures,
		Redis:    p.redis,
		Secrets:  p.secrets,
		Memory:   p.memory,
		Log:      p.log,
		Metrics:  p.metrics,
		Now:      time.Now,
		Around:   p.devHandlers,
	})
	if err != nil {
		return err
	}
	listener, err := p.listen(ctx)
	if err != nil {
		return err
	}
	if err := p.tellDevRedis(); err != nil {
		return err
	}
	if err := p.startAdmin(ctx); err != nil {
		return err
	}
	p.sayHello(listener.Addr())
	if p.db != nil {
		p.warnOfSchema(ctx)
	}

	p.ownShutdown()
	server := &process.HTTP{
		Handler:  handler,
		Listener: listener,
		Memory:   p.memory / 4,
		Timeout:  p.config.Timeout,
		Drain:    p.config.Drain,
		Grace:    p.config.Grace(),
		Log:      p.log,
	}
	return server.Run(ctx)
}

// devHandlers puts before the routes what dev mode serves behind the same checks
// of Host and Origin: the page and the simulator's control paths.
func (p *program) devHandlers(routes http.Handler) (http.Handler, error) {
	if p.config.Pro() {
		return routes, nil
	}
	p.note("Page", "at / for a browser: a phone, the wire, and the API's description at /openapi.json")
	return page.Handler(page.Options{Version: p.build.Version, Simulated: p.wechat != nil},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p.wechat != nil && strings.HasPrefix(r.URL.Path, controlPrefix) {
				p.wechat.Control().ServeHTTP(w, r)
				return
			}
			routes.ServeHTTP(w, r)
		}))
}

// fallbackPort is where dev mode goes when the documented port needs
// privileges that the user lacks.
const fallbackPort = 8082

func (p *program) listen(ctx context.Context) (net.Listener, error) {
	host := p.host()
	address := net.JoinHostPort(host, strconv.Itoa(p.config.Port))
	listener, err := process.Listen(ctx, address)
	if errors.Is(err, syscall.EACCES) && !p.config.Pro() {
		p.note("Port", fmt.Sprintf("%d needs privileges that you lack: it is %d instead", p.config.Port, fallbackPort))
		address = net.JoinHostPort(host, strconv.Itoa(fallbackPort))
		listener, err = process.Listen(ctx, address)
	}
	if err != nil {
		return nil, listenError("SHARES_HOST", "SHARES_PORT", address, err)
	}
	return listener, nil
}
