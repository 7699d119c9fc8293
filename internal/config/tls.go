package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSFiles returns the TLS configuration of a client from PEM files: the authorities to trust
// instead of the system's, and the client's certificate with its key. Files with empty names are
// not read. An error begins with the setting: prefix and _CA, or _CERT and _KEY.
func TLSFiles(prefix, ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("%s_CA: %w", prefix, err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s_CA: %s holds no PEM certificate", prefix, ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s_CERT and %[1]s_KEY: %w", prefix, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
