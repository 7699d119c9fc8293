package app

import (
	"cmp"
	"context"
	"net"

	"shares/internal/process"
)

// devInternal is the default address of the internal port of serve in dev mode.
const devInternal = "127.0.0.1:8084"

// listenInternal opens the internal port. It returns nil if there is none. If dev is set, the port
// is devInternal by default, and off if another process uses that.
func (p *program) listenInternal(ctx context.Context, dev bool) (net.Listener, error) {
	if p.config.InternalListen == "" && !dev {
		return nil, nil
	}
	listener, err := process.Listen(ctx, cmp.Or(p.config.InternalListen, devInternal))
	switch {
	case err == nil:
		p.addPart("Internal", "for other services, on http://"+listener.Addr().String())
	case p.config.InternalListen == "":
		p.addPart("Internal", "off: "+err.Error()+" (set SHARES_INTERNAL_LISTEN)")
	default:
		return nil, listenError("SHARES_INTERNAL_LISTEN", err)
	}
	return listener, nil
}
