package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shares/internal/testenv"
)

func TestTLSFiles(t *testing.T) {
	ca, cert, key := testenv.Certificate(t, "redis.example.test")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := TLSFiles("REDIS_TLS", ca, cert, key)
	if err != nil || c.RootCAs == nil || len(c.Certificates) != 1 {
		t.Fatalf("got %+v, %v, want the authority and one certificate", c, err)
	}
	if c, err = TLSFiles("REDIS_TLS", "", "", ""); err != nil || c.RootCAs != nil {
		t.Errorf("without files: %+v, %v, want the system's authorities", c, err)
	}
	for want, files := range map[string][3]string{
		"REDIS_TLS_CA: open missing: ":                              {"missing", cert, key},
		"REDIS_TLS_CA: " + empty + " holds no PEM certificate":      {empty, "", ""},
		"REDIS_TLS_CERT and REDIS_TLS_KEY: open : ":                 {ca, cert, ""},
		"REDIS_TLS_CERT and REDIS_TLS_KEY: tls: failed to find any": {ca, cert, empty},
	} {
		if _, err := TLSFiles("REDIS_TLS", files[0], files[1], files[2]); err == nil ||
			!strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", files, err, want)
		}
	}
}
