// Package testenv starts real programs for tests: Redis and MariaDB, from the binaries installed on
// the machine, on free loopback ports and in folders of their own, and by Process any other. They
// can be killed, paused and started again on the same port and data. Tests and the suites under
// test/ use it; the service must not. Functions that take a testing.TB fail the test and clean up;
// the others return errors and leave closing to the caller. A missing binary is an error that
// carries the command to install it: nothing skips.
package testenv

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"shares/internal/testenv/testos"
)

// server is a database server of its own.
type server struct {
	*Process
	addr string
	dir  string
}

// Addr returns host:port. It stays the same over Kill, Stop and Start.
func (s *server) Addr() string { return s.addr }

// Close kills the server and removes its folder.
func (s *server) Close() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }

// startServer starts a program with the arguments for a folder and a port, both free. Between the
// search for a free port and the server's bind another process can take it, so it tries three times.
func startServer(path string, arguments func(dir, port string) (args []string, ready string, err error)) (*server, error) {
	var errs []error
	for range 3 {
		s, err := tryServer(path, arguments)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("testenv: %w", errors.Join(errs...))
}

func tryServer(path string, arguments func(dir, port string) (args []string, ready string, err error)) (*server, error) {
	addr, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	s := &server{addr: addr, dir: dir}
	args, ready, err := arguments(dir, port)
	if err == nil {
		s.Process = NewProcess(Program{Path: path, Args: args, Ready: regexp.MustCompile(ready)})
		err = s.Start()
	}
	if err != nil {
		os.RemoveAll(dir) // the start's error is the one to report
		return nil, err
	}
	return s, nil
}

// closeWith closes the server with the test. When the test fails, its log names a file with what
// the server printed.
func (s *server) closeWith(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s: %s", s.name(), SaveOutput(s.name(), s.Output()))
		}
		if err := s.Close(); err != nil {
			t.Errorf("testenv: close: %v", err)
		}
	})
}

// FreePort returns a TCP port on 127.0.0.1 that was free a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	addr, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return int(netip.MustParseAddrPort(addr).Port())
}

// FreeAddress returns an address of 127.0.0.1 whose port was free a moment ago. Another process can
// take it before the caller listens on it.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("testenv: find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// lookPath finds the first of names in PATH or in the folders where Debian and Homebrew put servers
// but a user's PATH may not look.
func lookPath(install string, names ...string) (string, error) {
	for _, name := range names {
		for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("testenv: %s is not installed: %s", strings.Join(names, " or "), install)
}

const tempPrefix = "shares-testenv-"

// tempDir makes a folder for one server. The path is kept short: a unix socket inside must stay
// under 104 bytes.
func tempDir() (string, error) {
	Sweep(os.TempDir())
	dir, err := os.MkdirTemp("", Owned("*"))
	if err != nil {
		return "", fmt.Errorf("testenv: make a temp folder: %w", err)
	}
	return dir, nil
}

// Owned returns a file name that carries this process's id, so that Sweep removes the file when the
// process is gone.
func Owned(name string) string { return fmt.Sprintf("%s%d-%s", tempPrefix, os.Getpid(), name) }

// Sweep removes the Owned files and folders in dir whose processes are gone. A test binary that is
// killed (go test's timeout does that) cleans nothing up.
func Sweep(dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), tempPrefix), "-")
		if pid, err := strconv.Atoi(owner); err == nil && pid > 0 && !testos.Alive(pid) {
			os.RemoveAll(path) // best effort: another run may be sweeping the same folder
		}
	}
}

// CacheDir returns a folder that tests of this user share.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil { // no home folder, as in some containers
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, fmt.Sprintf("shares-testenv-%d", os.Getuid()))
	return cache, os.MkdirAll(cache, 0o700)
}
