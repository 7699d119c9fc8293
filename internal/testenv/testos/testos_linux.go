package testos

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// DieWithParent makes the kernel kill a child when its parent is gone, however that ended.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// WaitStopped returns when all threads of a child that was sent Stop stand still: kill returns before
// that, and a server with many threads answers some requests more.
func WaitStopped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for process %d to stop: %w", pid, err)
		}
		return nil
	}
}
