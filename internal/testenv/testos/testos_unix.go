//go:build unix

// Package testos holds the system calls that tests and their servers need. Tests run on Linux and
// macOS; for Windows the package only compiles.
package testos

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Stop pauses a process, Continue resumes it.
const (
	Stop     = syscall.SIGSTOP
	Continue = syscall.SIGCONT
)

// Alive reports whether a process with this id exists.
func Alive(pid int) bool { return syscall.Kill(pid, 0) != syscall.ESRCH }

// LockFile waits for the exclusive lock on a file. It creates the file if it is missing and keeps
// it. The lock ends with the process at the latest.
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
