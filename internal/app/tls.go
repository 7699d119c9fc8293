package app

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// certificateCause returns why a server's certificate was refused, and a remedy, or nil if err has
// another cause. ca is the setting of the authority's file.
func certificateCause(err error, ca string) error {
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("the certificate is signed by %q, which is not trusted: set %s to the file of "+
			"this authority", unknown.Cert.Issuer, ca)
	}
	_, name := errors.AsType[x509.HostnameError](err)
	if _, invalid := errors.AsType[x509.CertificateInvalidError](err); name || invalid {
		return fmt.Errorf("the certificate is refused: %w", err)
	}
	return nil
}
