package testos

import (
	"fmt"
	"syscall"
)

// DieWithParent returns attributes that make the kernel kill the child when its parent has ended.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// WaitStopped waits until all threads of a child have stopped after a Stop. kill returns earlier,
// while a server with many threads still answers some requests.
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
