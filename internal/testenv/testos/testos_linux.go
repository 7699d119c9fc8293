package testos

import (
	"fmt"
	"syscall"
)

// DieWithParent makes the kernel kill a child when its parent is gone, however that ended.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// WaitStopped returns when all threads of a child that was sent Stop stand still: kill returns before
// that, and a server with many threads answers some requests more.
func WaitStopped(pid int) error {
	const byPid = 1 // P_PID
	for {
		_, _, err := syscall.Syscall6(syscall.SYS_WAITID, byPid, uintptr(pid), 0,
			syscall.WSTOPPED|syscall.WNOWAIT, 0, 0)
		switch err {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return fmt.Errorf("wait for process %d to stop: %w", pid, err)
		}
	}
}
