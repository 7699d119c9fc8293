//go:build unix && !linux

package testenv

import "syscall"

// dieWithParent has no equivalent here: servers end by Close, t.Cleanup and Main, and survive a killed test binary.
func dieWithParent() *syscall.SysProcAttr { return nil }

// waitStopped has no equivalent here: a server may answer for an instant after it was paused.
func waitStopped(int) error { return nil }
