// Package testenv starts real programs for tests: Redis and MariaDB from the binaries installed on
// the machine, and any other through Process. Each server gets a free loopback port and its own
// folder. It can be killed, paused and restarted on the same port and data. Tests and the suites
// under test/ use the package; the service must not. Functions that take a testing.TB fail the test
// and clean up; the others return errors and leave closing to the caller. A missing binary is an
// error that names the command to install it; no test is skipped.
package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
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

// server is the process and the folder of a database server.
type server struct {
	*Process
	addr string
	dir  string
}

// Addr returns host:port. It stays the same across Kill, Stop and Start.
func (s *server) Addr() string { return s.addr }

// Close kills the server and removes its folder.
func (s *server) Close() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }

// startServer starts a program with the arguments for a new folder and a free port. It tries three
// times, because another process can take the port before the server binds it.
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

// closeWith closes the server when the test ends. If the test failed, its log names a file with the
// server's output.
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

// FreeAddress returns an address of 127.0.0.1 whose port was free a moment ago. The port is below
// the range from which Linux and macOS give ports to connections and to listeners on port 0, so
// that none of them takes it before the caller listens on it.
func FreeAddress() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.N(22000))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("testenv: find a free port: %w", err)
}

// LookPath finds the first of names in PATH, or in the folders of Debian and Homebrew that a user's
// PATH may lack.
func LookPath(install string, names ...string) (string, error) {
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

// tempDir creates a folder for one server. The path is short, because a unix socket in it must stay
// under 104 bytes.
func tempDir() (string, error) {
	Sweep(os.TempDir())
	dir, err := os.MkdirTemp("", Owned("*"))
	if err != nil {
		return "", fmt.Errorf("testenv: make a temp folder: %w", err)
	}
	return dir, nil
}

// Owned returns a file name with this process's id, so that Sweep removes the file after the
// process has ended.
func Owned(name string) string { return fmt.Sprintf("%s%d-%s", tempPrefix, os.Getpid(), name) }

// Sweep removes the Owned files and folders in dir whose processes have ended. A killed test
// binary, as after go test's timeout, does not remove its own.
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

// CacheDir returns a folder that all tests of this user share. It creates the folder if it is
// missing.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil { // no home folder, as in some containers
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, fmt.Sprintf("shares-testenv-%d", os.Getuid()))
	return cache, os.MkdirAll(cache, 0o700)
}
