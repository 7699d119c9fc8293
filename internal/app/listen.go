package app

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listenError returns the cause of a failed net.Listen in one sentence with a way out. host and port
// are the settings, or one setting twice.
func listenError(host, port, address string, err error) error {
	_, number, _ := net.SplitHostPort(address)
	_, notFound := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: port %s is in use: stop the process that has it, or set another port",
			port, number)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: port %s needs privileges: set a port from 1024 on, or allow the "+
			"process to bind lower ones (CAP_NET_BIND_SERVICE)", port, number)
	case errors.Is(err, syscall.EADDRNOTAVAIL) || notFound:
		return fmt.Errorf("%s: is no address of this machine: set one, or leave the host empty "+
			"for all addresses", host)
	}
	return fmt.Errorf("%s: %w", port, err)
}
