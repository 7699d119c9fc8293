package main

import "syscall"

// dieWithParent has programs end with the benchmark, however that ends.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
