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
	"sync"
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
		const setting = "SHARES_ADMIN_LISTEN"
		return listenError(setting, setting, p.config.AdminListen, err)
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

// ready reports whether requests can be served. Until it first succeeds, every part marked first
// must answer: MySQL with the schema, or the user service. After that, the database or Redis is
// enough: an outage affects all replicas, and if all were unready, none could serve the requests
// that still work. WeChat is not part of readiness.
func (p *program) ready(ctx context.Context) error {
	if !p.started.Load() {
		for _, part := range p.parts {
			if !part.first {
				continue
			}
			if err := part.ask(ctx); err != nil {
				return err
			}
		}
		p.started.Store(true)
		return nil
	}
	if p.db == nil || p.redis.Ping(ctx).Err() == nil || p.db.PingContext(ctx) == nil {
		return nil
	}
	return errors.New("neither the database nor Redis answers")
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

const (
	// askTimeout bounds how long a start in dev mode waits for parts to answer.
	askTimeout = time.Second
	// warnTimeout bounds the readiness check at start in pro mode, which runs in the background.
	warnTimeout = 10 * time.Second
)

// say prints the title and, in dev mode, the parts and whether they answer. In pro mode it logs
// title and parts, and then why the process is not ready, if so.
func (p *program) say(ctx context.Context, title string) {
	if p.config.Pro() {
		var parts []string
		for _, part := range p.parts {
			parts = append(parts, part.name+" "+part.what)
		}
		p.log.InfoContext(ctx, "started", "what", title, "parts", strings.Join(parts, "; "))
		go func() {
			ctx, cancel := context.WithTimeout(ctx, warnTimeout)
			defer cancel()
			if err := p.ready(ctx); err != nil {
				p.log.WarnContext(ctx, "not ready", "error", err)
			}
		}()
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s\n\n", title)
	for _, line := range p.askParts() {
		fmt.Fprintf(os.Stderr, "  %s\n", line)
	}
}

func (p *program) askParts() []string {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	lines := make([]string, len(p.parts))
	var asked sync.WaitGroup
	for i, part := range p.parts {
		lines[i] = fmt.Sprintf("%-9s %s", part.name, part.what)
		if part.ask == nil {
			continue
		}
		asked.Go(func() {
			if err := part.ask(ctx); err != nil {
				lines[i] += ": " + oneLine(err)
				return
			}
			lines[i] += ": answers"
		})
	}
	asked.Wait()
	return lines
}
