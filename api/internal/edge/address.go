package edge

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/realclientip/realclientip-go"
)

// Addresses tells a request's client address: the socket's, or what
// X-Forwarded-For says where the socket is a trusted proxy's.
type Addresses struct {
	trusted  []netip.Prefix
	strategy realclientip.Strategy
	ignored  prometheus.Counter
	warn     func()
}

const forwardedFor = "X-Forwarded-For"

// NewAddresses trusts X-Forwarded-For of the proxies only, as far back as the
// last address that is no proxy's. From anyone else it is ignored, warned of
// once and counted.
func NewAddresses(proxies []netip.Prefix, log *slog.Logger, reg prometheus.Registerer) (*Addresses, error) {
	a := &Addresses{
		trusted: proxies,
		ignored: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "shares_forwarded_for_ignored_total",
			Help: "Requests whose X-Forwarded-For was ignored because no trusted proxy sent it.",
		}),
		warn: sync.OnceFunc(func() {
			log.Warn("X-Forwarded-For ignored: it did not come from a proxy of SHARES_TRUSTED_PROXIES")
		}),
	}
	ranges := make([]net.IPNet, 0, len(proxies))
	for _, p := range proxies {
		ranges = append(ranges, net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	if len(ranges) > 0 {
		strategy, err := realclientip.NewRightmostTrustedRangeStrategy(forwardedFor, ranges)
		if err != nil {
			return nil, err
		}
		a.strategy = strategy
	}
	return a, nil
}

// Of returns the client's address in its shortest form; of IPv6 the /64,
// which is what one subscriber gets. A socket without an IP address gives "unknown".
func (a *Addresses) Of(r *http.Request) string {
	socket, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	address := socket.Addr().Unmap()
	if len(r.Header[forwardedFor]) > 0 {
		if !a.trusts(address) {
			a.ignored.Inc()
			a.warn()
		} else if client, err := netip.ParseAddr(a.strategy.ClientIP(r.Header, r.RemoteAddr)); err == nil {
			address = client.Unmap()
		}
	}
	if address.Is6() {
		if network, err := address.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}

func (a *Addresses) trusts(address netip.Addr) bool {
	for _, p := range a.trusted {
		if p.Contains(address) {
			return true
		}
	}
	return false
}
