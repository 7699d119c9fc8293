//go:build unix && !linux

package testprocess

import "syscall"

// dieWithParent has no equivalent here: a program outlives a starter that was killed.
func dieWithParent() *syscall.SysProcAttr { return nil }
