package edge

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Addresses determines client addresses: the peer's or, behind trusted proxies, X-Forwarded-For's.
type Addresses struct {
	proxies []netip.Prefix
	ignored prometheus.Counter
	warn    func()
}

// NewAddresses returns Addresses that trust X-Forwarded-For only from proxies. From other peers the
// header is ignored and counted; the first time is logged.
func NewAddresses(proxies []netip.Prefix, log *slog.Logger, reg prometheus.Registerer) *Addresses {
	return &Addresses{
		proxies: proxies,
		ignored: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "shares_forwarded_for_ignored_total",
			Help: "Requests whose X-Forwarded-For was ignored because no trusted proxy sent it.",
		}),
		warn: sync.OnceFunc(func() {
			log.Warn("X-Forwarded-For ignored: the peer is not listed in SHARES_TRUSTED_PROXIES")
		}),
	}
}

// Of returns the client's address: for IPv6 its /64, because a subscriber gets a whole /64. It
// returns "unknown" if the peer has no IP address.
func (a *Addresses) Of(r *http.Request) string {
	socket, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	address := socket.Addr().Unmap()
	if forwarded := r.Header["X-Forwarded-For"]; len(forwarded) > 0 {
		if a.trusts(address) {
			address = a.client(strings.Join(forwarded, ","), address)
		} else {
			a.ignored.Inc()
			a.warn()
		}
	}
	if address.Is6() {
		if network, err := address.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}

// client returns the last address in X-Forwarded-For that is not a trusted proxy's. It returns
// socket if there is none, or if it is malformed.
func (a *Addresses) client(forwarded string, socket netip.Addr) netip.Addr {
	for _, hop := range slices.Backward(strings.Split(forwarded, ",")) {
		hop = strings.TrimSpace(hop)
		address, err := netip.ParseAddr(strings.Trim(hop, "[]"))
		if withPort, portErr := netip.ParseAddrPort(hop); portErr == nil {
			address, err = withPort.Addr(), nil
		}
		if err != nil {
			return socket
		}
		if address = address.Unmap(); !a.trusts(address) {
			return address
		}
	}
	return socket
}

func (a *Addresses) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(a.proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}
