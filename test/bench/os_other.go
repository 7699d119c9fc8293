//go:build unix && !linux

package main

import "syscall"

// dieWithParent has no equivalent here, and neither has /proc: the benchmark
// says so when it reads it.
func dieWithParent() *syscall.SysProcAttr { return nil }
