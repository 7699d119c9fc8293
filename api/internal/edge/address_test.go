package edge

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func prefixes(s ...string) []netip.Prefix {
	var networks []netip.Prefix
	for _, p := range s {
		networks = append(networks, netip.MustParsePrefix(p))
	}
	return networks
}

func TestClientAddress(t *testing.T) {
	behind := prefixes("10.0.0.0/8", "fd00::/8")
	for _, tt := range []struct {
		name      string
		trusted   []netip.Prefix
		remote    string
		forwarded []string
		want      string
		ignored   float64
	}{
		{"the peer", nil, "203.0.113.7:4711", nil, "203.0.113.7", 0},
		{"the peer, not a trusted proxy", behind, "203.0.113.7:4711", nil, "203.0.113.7", 0},
		{"the peer, IPv4 in IPv6", nil, "[::ffff:203.0.113.7]:4711", nil, "203.0.113.7", 0},
		{"one subscriber's IPv6", nil, "[2001:db8:1:2:3:4:5:6]:4711", nil, "2001:db8:1:2::/64", 0},
		{"the same subscriber", nil, "[2001:db8:1:2:ffff::1]:4711", nil, "2001:db8:1:2::/64", 0},
		{"IPv6 with a zone", nil, "[fe80::1%eth0]:4711", nil, "fe80::/64", 0},
		{"no IP address", nil, "@", nil, "unknown", 0},

		{"spoofed, no proxy trusted", nil, "203.0.113.7:4711", []string{"198.51.100.1"}, "203.0.113.7", 1},
		{"spoofed, by an untrusted peer", behind, "203.0.113.7:4711", []string{"198.51.100.1"}, "203.0.113.7", 1},
		{"spoofed as a proxy's", behind, "203.0.113.7:4711", []string{"10.0.0.1"}, "203.0.113.7", 1},

		{"by a trusted proxy", behind, "10.1.2.3:80", []string{"198.51.100.1"}, "198.51.100.1", 0},
		{"by a trusted proxy, IPv4 in IPv6", behind, "[::ffff:10.1.2.3]:80", []string{"198.51.100.1"}, "198.51.100.1", 0},
		{"by a trusted IPv6 proxy", behind, "[fd00::1]:80", []string{"2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64", 0},
		{"a value from the client before it", behind, "10.1.2.3:80", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1", 0},
		{"a proxy's address from the client before it", behind, "10.1.2.3:80", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1", 0},
		{"several trusted proxies", behind, "10.1.2.3:80", []string{"198.51.100.1, 10.4.4.4, 10.5.5.5"}, "198.51.100.1", 0},
		{"several headers", behind, "10.1.2.3:80", []string{"1.1.1.1", "198.51.100.1", "10.4.4.4"}, "198.51.100.1", 0},
		{"IPv6, with and without a port", behind, "10.1.2.3:80", []string{"1.1.1.1, [2001:db8:1:2::5]:443, [fd00::7], ::ffff:10.1.1.1"}, "2001:db8:1:2::/64", 0},
		{"with a port", behind, "10.1.2.3:80", []string{"198.51.100.1:5555"}, "198.51.100.1", 0},
		{"only trusted proxies", behind, "10.1.2.3:80", []string{"10.4.4.4"}, "10.1.2.3", 0},
		{"malformed", behind, "10.1.2.3:80", []string{"1.1.1.1, <script>"}, "10.1.2.3", 0},
		{"empty", behind, "10.1.2.3:80", []string{""}, "10.1.2.3", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			a := NewAddresses(tt.trusted, slog.New(slog.DiscardHandler), reg)
			r := httptest.NewRequest("POST", "/", nil)
			r.RemoteAddr = tt.remote
			if tt.forwarded != nil {
				r.Header["X-Forwarded-For"] = tt.forwarded
			}
			r.Header.Set("X-Real-Ip", "192.0.2.99") // ignored
			r.Header.Set("Forwarded", "for=192.0.2.99")
			if got := a.Of(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := testutil.ToFloat64(a.ignored); got != tt.ignored {
				t.Errorf("%v headers ignored, want %v", got, tt.ignored)
			}
		})
	}
}

func TestSpoofedAddressesAreLoggedOnce(t *testing.T) {
	var buf bytes.Buffer
	a := NewAddresses(prefixes("10.0.0.0/8"), slog.New(slog.NewTextHandler(&buf, nil)), nil)
	for range 3 {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Forwarded-For", "198.51.100.66")
		a.Of(r)
	}
	if n := strings.Count(buf.String(), "SHARES_TRUSTED_PROXIES"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, buf.String())
	}
	if got := testutil.ToFloat64(a.ignored); got != 3 {
		t.Errorf("%v counted, want 3", got)
	}
	if strings.Contains(buf.String(), "198.51.100.66") {
		t.Errorf("the log contains the spoofed address:\n%s", buf.String())
	}
}
