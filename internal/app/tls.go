package app

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// certificateCause returns the authority or the name for which a server's certificate was refused,
// with a remedy, or nil if err is another failure. ca is the setting of the authority's file.
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
