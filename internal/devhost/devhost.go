// Package devhost decides which Host headers dev mode accepts. It refuses unknown names as a
// protection against DNS rebinding: a page whose name resolves to a local address could otherwise
// call the service as if it had the same origin.
package devhost

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Local reports whether a host without port is localhost, a Kubernetes Service such as
// shares.default.svc, or a loopback, private or link-local IP address. None of them is in public
// DNS.
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

// Machine returns the names of this machine, in lower case: its host name and its multicast DNS
// name.
func Machine() []string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return nil
	}
	name = strings.ToLower(name)
	first, _, _ := strings.Cut(name, ".")
	return []string{name, first + ".local"}
}

// Allowed reports whether a host, with or without port, is local or one of names. names must be in
// lower case and without port.
func Allowed(hostPort string, names []string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil { // no port
		host = strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]")
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return Local(host) || host != "" && slices.Contains(names, host)
}
