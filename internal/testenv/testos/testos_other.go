//go:build !linux

package testos

import "syscall"

// DieWithParent has no equivalent here: a child survives a parent that was killed.
func DieWithParent() *syscall.SysProcAttr { return nil }

// WaitStopped has no equivalent here: a server may answer for an instant after it was paused.
func WaitStopped(int) error { return nil }
