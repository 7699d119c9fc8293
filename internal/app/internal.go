package app

import (
	"cmp"
	"context"
	"errors"
	"net"
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
