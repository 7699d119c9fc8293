package process

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUp is how long a client may leave what it was sent unread before the kernel drops the
// connection with it.
const giveUp = 30 * time.Second

// bound limits what the kernel holds for the connections of a listener. They inherit its options.
func bound(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer/2), // the kernel doubles it
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(giveUp.Milliseconds())))
	})
	return errors.Join(failed, err)
}
