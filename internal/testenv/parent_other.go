//go:build unix && !linux

package testenv

import "syscall"

// dieWithParent has no equivalent here: servers end by Close, t.Cleanup and Main, and survive a killed test binary.
func dieWithParent() *syscall.SysProcAttr { return nil }
