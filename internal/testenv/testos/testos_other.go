//go:build !linux

package testos

import "syscall"

// DieWithParent has no equivalent here: a child survives a killed parent.
func DieWithParent() *syscall.SysProcAttr { return nil }

// WaitStopped has no equivalent here: a paused server may answer for an instant longer.
func WaitStopped(int) error { return nil }
