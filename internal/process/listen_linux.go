package process

import (
	"errors"
	"syscall"
	"time"
)

const (
	// giveUp is how long a client may leave what it was sent unread before the kernel drops the
	// connection with it.
	giveUp = 30 * time.Second

	tcpUserTimeout = 18 // TCP_USER_TIMEOUT, which package syscall lacks
)

// bound limits what the kernel holds for the connections of a listener. They inherit its options.
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
