// Package devhost decides which Host headers dev mode answers. A browser treats
// a host name whose DNS entry points to a local address as one origin with the
// page that was loaded from that name (DNS rebinding), so unknown names are
// refused.
package devhost

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Local reports whether a host without port is localhost, a Service of Kubernetes such as
// shares.default.svc, or a loopback, private or link-local IP address. Public DNS has none of them.
func Local(host string) bool {
	if host == "localhost" {
		return true
	}
	for _, suffix := range []string{".localhost", ".svc", ".svc.cluster.local"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap()
	return err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast())
}

// Machine returns the names of this machine, in lower case: its host name, and
// the name that multicast DNS gives it in the local network.
func Machine() []string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return nil
	}
	name = strings.ToLower(name)
	first, _, _ := strings.Cut(name, ".")
	return []string{name, first + ".local"}
}

// Allowed reports whether a host, with or without port, is local or one of
// names, which are in lower case and without port.
func Allowed(hostPort string, names []string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil { // no port
		host = strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]")
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return Local(host) || host != "" && slices.Contains(names, host)
}
