package app

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"

	"shares/internal/process"
)

// devInternal is the default address of the internal port of serve in dev mode.
const devInternal = "127.0.0.1:8084"

// listenInternal opens the internal port, by default at fallback. It returns nil if there is none.
func (p *program) listenInternal(ctx context.Context, fallback string) (net.Listener, error) {
	address := cmp.Or(p.config.InternalListen, fallback)
	if address == "" {
		return nil, nil
	}
	listener, err := process.Listen(ctx, address)
	switch {
	case err == nil:
		p.embedded("Internal", "for other services, on http://"+listener.Addr().String())
		return listener, nil
	case p.config.InternalListen == "" && errors.Is(err, syscall.EADDRINUSE):
		p.embedded("Internal", "off, because "+fallback+" is in use (set SHARES_INTERNAL_LISTEN)")
		return nil, nil
	}
	return nil, listenError("SHARES_INTERNAL_LISTEN", err)
}

// beside runs main and, unless listener is nil, serves the internal port, until ctx or one of them
// ends.
func (p *program) beside(ctx context.Context, listener net.Listener, internal http.Handler,
	main func(context.Context) error) error {
	if listener == nil {
		return main(ctx)
	}
	server := &process.HTTP{
		Handler:  internal,
		Listener: listener,
		Memory:   p.memory / 8,
		Timeout:  p.config.Timeout,
		Drain:    p.config.Drain,
		Grace:    p.config.Grace(),
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- server.Run(ctx)
	}()
	err := main(ctx)
	cancel()
	return errors.Join(err, <-ended)
}
