package testenv

import "syscall"

// dieWithParent makes the kernel kill the server when the test binary is gone, however it went.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
