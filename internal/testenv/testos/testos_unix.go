//go:build unix

// Package testos holds the calls of the operating system that tests and their servers need. Tests
// run on Linux and macOS; for Windows the package only compiles.
package testos

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Stop pauses a process, Continue lets it run on.
const (
	Stop     = syscall.SIGSTOP
	Continue = syscall.SIGCONT
)

// Alive reports whether there is a process of that id.
func Alive(pid int) bool { return syscall.Kill(pid, 0) != syscall.ESRCH }

// LockFile waits for the exclusive lock on a file, which is made if missing and stays. The lock ends
// with the process at the latest.
func LockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}
