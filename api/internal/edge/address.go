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

// Addresses tells a request's client address: the socket's, or what
// X-Forwarded-For says where the socket is a trusted proxy's.
type Addresses struct {
	proxies []netip.Prefix
	ignored prometheus.Counter
	warn    func()
}

// NewAddresses trusts X-Forwarded-For of the proxies only, as far back as the
// last address that is no proxy's. From any other address it is ignored, warned
// of once and counted.
func NewAddresses(proxies []netip.Prefix, log *slog.Logger, reg prometheus.Registerer) *Addresses {
	return &Addresses{
		proxies: proxies,
		ignored: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "shares_forwarded_for_ignored_total",
			Help: "Requests whose X-Forwarded-For was ignored because no trusted proxy sent it.",
		}),
		warn: sync.OnceFunc(func() {
			log.Warn("X-Forwarded-For ignored: it did not come from a proxy of SHARES_TRUSTED_PROXIES")
		}),
	}
}

// Of returns the client's address in its shortest form; of IPv6 the /64,
// which is what one subscriber gets. A socket without an IP address gives "unknown".
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

// client returns the last address of X-Forwarded-For that is no proxy's, and socket when there is
// none or it is no address.
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
