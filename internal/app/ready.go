package app

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"shares/internal/admin"
	"shares/internal/process"
)

// startAdmin serves health and metrics, if an address for them is set. The process is unready once
// ctx ends.
func (p *program) startAdmin(ctx context.Context) error {
	if p.config.AdminListen == "" {
		return nil
	}
	listener, err := net.Listen("tcp", p.config.AdminListen)
	if err != nil {
		const setting = "SHARES_ADMIN_LISTEN"
		return listenError(setting, setting, p.config.AdminListen, err)
	}
	check := func(probe context.Context) error {
		if ctx.Err() != nil {
			return errors.New("shutting down")
		}
		return p.ready(probe)
	}
	// The probes answer to the very end: a pod that shuts down is unready, not dead.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	server := &process.HTTP{
		Handler: admin.Handler(check, p.metrics, p.log), Listener: listener, Grace: time.Second,
	}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Run(running) })
	p.onClose(func() error { stop(); done.Wait(); return nil })
	return nil
}

// ready reports whether requests can be served. The first time it wants all of
// the own dependencies: the schema that this program needs, or the user
// service. After that it wants one of the two places that users are read from:
// an outage meets all replicas at once, and taking all of them away would turn
// a part of the answers into none. WeChat is no dependency of readiness.
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
