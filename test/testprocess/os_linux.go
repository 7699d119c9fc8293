package testprocess

import "syscall"

// dieWithParent makes the kernel kill the program when its starter is gone, however it went.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
