// Package testenv starts the real servers that storage tests run on: Redis and MariaDB, from the binaries installed on the machine, on
// free loopback ports and in folders of their own. The servers can be killed, paused and started again on the same port and data, so
// that a test can watch the service survive it. Tests anywhere in this module, and the fault and benchmark programs under test/, may
// use it; the service itself must not. Functions that take a testing.TB fail the test and clean up by themselves; those that do not
// return errors and leave closing to the caller. A missing binary is an error that carries the command to install it: nothing skips.
package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"shares/internal/testenv/testos"
)

// startAttempts bounds how often a server is tried on another port: between finding a free port and the server's bind, another
// process can take it.
const startAttempts = 3

// FreePort returns a TCP port on 127.0.0.1 that was free a moment ago. Another process can take it before the caller listens on it.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("testenv: find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// lookPath finds the first of names in PATH or in the folders where Debian and Homebrew put servers but a user's PATH may not look.
func lookPath(install string, names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("testenv: %s is not installed: %s", strings.Join(names, " or "), install)
}

const tempPrefix = "shares-testenv-"

// tempDir makes a folder for one server. Its name carries this process's id, so that a later run can remove what a killed one left.
// The path is kept short: a unix socket inside must stay under 104 bytes.
func tempDir() (string, error) {
	sweep()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("testenv: make a temp folder: %w", err)
	}
	return dir, nil
}

// sweep removes the folders of processes that are gone. A test binary that is killed (go test's timeout does that) cleans nothing up.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), tempPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil || pid <= 0 {
			continue
		}
		if !testos.Alive(pid) {
			os.RemoveAll(dir) // best effort: another run may be sweeping the same folder
		}
	}
}
