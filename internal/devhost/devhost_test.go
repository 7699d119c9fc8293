package devhost

import (
	"os"
	"strings"
	"testing"
)

func TestAllowed(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:82": true, "LocalHost.:82": true, "app.localhost": true,
		"127.0.0.1": true, "127.0.0.1:8080": true, "127.9.9.9": true, "[::1]": true, "[::1]:82": true,
		"192.168.1.20:82": true, "10.0.0.8": true, "172.16.0.1": true, "[fd00::1]:82": true,
		"169.254.1.1": true, "[fe80::1]:82": true, "[::ffff:10.0.0.1]:82": true,
		"shares.shares-dev.svc": true, "shares.shares-dev.svc.cluster.local:80": true,
		"shares.example.com": true, "Shares.Example.Com:443": true, "shares.example.com.": true,

		"": false, ":82": false, "evil.example": false, "evil.example:82": false, "8.8.8.8": false,
		"172.32.0.1": false, "0.0.0.0": false, "0.0.0.0:82": false, "[2001:db8::1]:82": false,
		"svc": false, "shares.shares-dev": false, "shares.svc.evil.example": false,
		"localhost.evil.example": false, "evillocalhost": false, "127.0.0.1.evil.example": false,
		"192.168.1.20.nip.io": false, "sub.shares.example.com": false, "example.com": false,
		"[::1]evil.example": false, "2130706433": false, "localhost:82:82": false,
	} {
		if got := Allowed(host, []string{"shares.example.com"}); got != want {
			t.Errorf("Host %q: allowed %v, want %v", host, got, want)
		}
	}
}

func TestMachine(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{name, strings.ToUpper(name) + ":82", strings.Split(name, ".")[0] + ".local:82"} {
		if !Allowed(host, Machine()) {
			t.Errorf("Host %q: refused, want allowed; Machine: %q", host, Machine())
		}
	}
}
