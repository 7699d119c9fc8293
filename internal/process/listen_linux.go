package process

import (
	"errors"
	"syscall"
	"time"
)

const (
	// giveUp is how long a client may leave an answer unread before the kernel drops the
	// connection.
	giveUp = 30 * time.Second

	tcpUserTimeout = 18 // TCP_USER_TIMEOUT; package syscall lacks it
)

// bound limits the kernel's memory for the connections of a listener, which inherit its options.
func bound(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = errors.Join(
			// The kernel doubles the size.
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer/2),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(giveUp.Milliseconds())))
	})
	return errors.Join(failed, err)
}
