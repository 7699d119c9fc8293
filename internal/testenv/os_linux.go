package testenv

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent makes the kernel kill the server when the test binary is gone, however it went.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// waitStopped returns when all threads of a child that was sent SIGSTOP stand still: kill returns before that, and a server with many
// threads answers some requests more.
func waitStopped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("testenv: wait for process %d to stop: %w", pid, err)
		}
		return nil
	}
}
