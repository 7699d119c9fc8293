package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"shares/docs"
)

// startAdmin serves health and metrics, if an address for them is set.
func (p *program) startAdmin(ctx context.Context) error {
	if p.config.AdminListen == "" {
		return nil
	}
	listener, err := net.Listen("tcp", p.config.AdminListen)
	if err != nil {
		return listenError("SHARES_ADMIN_LISTEN", err)
	}
	// The probes answer until the process ends: a pod that shuts down is unready, not dead.
	p.onClose(background(listener, p.admin(ctx, p.ready)))
	return nil
}

// admin serves /healthz (the process alone), /readyz and /metrics. /readyz answers 200 if ready
// succeeds within a second, otherwise 503, and always 503 once ctx has ended.
func (p *program) admin(ctx context.Context, ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		probe, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		err := ready(probe)
		if ctx.Err() != nil {
			err = errors.New("shutting down")
		}
		if err != nil {
			p.log.Warn("not ready", "error", err)
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		ok(w, r)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	return mux
}

func background(listener net.Listener, handler http.Handler) (closeServer func() error) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return server.Close
}

// ready reports whether requests can be served. Until it first succeeds, MySQL with the schema, or
// the user service, must answer. After that, the database or Redis is enough: an outage affects all
// replicas, and if all were unready, none could serve the requests that still work. WeChat is not
// part of readiness.
func (p *program) ready(ctx context.Context) (err error) {
	switch {
	case p.conn != nil && !p.started.Load():
		err = p.askRPC(ctx)
	case p.conn != nil:
	case p.config.MySQLDSN != "" && !p.started.Load():
		err = p.askMySQL(ctx)
	case p.redis.Ping(ctx).Err() != nil && p.db.PingContext(ctx) != nil:
		err = errors.New("neither the database nor Redis answers")
	}
	if err == nil {
		p.started.Store(true)
	}
	return err
}

// sayHello prints the address of the service, its parts and an example request. In pro mode it logs
// one line.
func (p *program) sayHello(ctx context.Context, address net.Addr) {
	_, port, _ := net.SplitHostPort(address.String())
	title := "shares " + p.version + " on http://localhost:" + port
	if address.(*net.TCPAddr).IP.IsUnspecified() {
		title += " (all addresses)"
	}
	p.say(ctx, title)
	if p.config.Pro() {
		return
	}
	code := `'{"jscode":"…"}'`
	if p.wechat != nil {
		code = `"$(curl -sS $host/simulator/code -d '{"user":"alice"}' | sed 's/code/jscode/')"`
	}
	fmt.Fprintf(os.Stderr, "\n  try it:   host=localhost:%s\n            curl -sS $host%s "+
		"-H 'Content-Type: application/json' \\\n              -d %s\n\n", port, docs.Path("weixin.oauth"), code)
}

// say prints the title and each part, a real part after its check. In pro mode it logs title and
// parts instead, and then a warning if the process is not ready.
func (p *program) say(ctx context.Context, title string) {
	if p.config.Pro() {
		var parts []string
		for _, part := range p.parts {
			parts = append(parts, part.name+" "+part.what)
		}
		p.log.InfoContext(ctx, "started", "what", title, "parts", strings.Join(parts, "; "))
		go func() {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			if err := p.ready(ctx); err != nil {
				p.log.WarnContext(ctx, "not ready", "error", err)
			}
		}()
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s\n\n", title)
	for _, part := range p.parts {
		if part.check == nil {
			fmt.Fprintln(os.Stderr, part.line(ctx))
			continue
		}
		go func() { fmt.Fprintln(os.Stderr, part.line(ctx)) }()
	}
}

// line returns the part, and whether a real one answers as the service needs it.
func (d part) line(ctx context.Context) string {
	result := ""
	if d.check != nil {
		result = ": answers"
		var errs []error
		d.run(ctx, func(_ string, err error) { errs = append(errs, err) })
		if err := errors.Join(errs...); err != nil {
			result = ": " + oneLine(err)
		}
	}
	return fmt.Sprintf("  %-9s %s%s", d.name, d.what, result)
}
