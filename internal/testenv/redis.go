package testenv

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

const installRedis = "apt-get install redis-server, or brew install redis"

// RedisServer is one redis-server process. Its methods are safe for concurrent use.
type RedisServer struct {
	proc *process
	addr string
	dir  string
}

// Redis starts a Redis of the test's own and ends it when the test does. It keeps nothing over a Kill unless args ask for it, such as
// "--appendonly", "yes", "--appendfsync", "always". When the test fails, the end of the server's log is added to the test's.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s, err := StartRedis(args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, "redis", s) })
	return s
}

// StartRedis starts a Redis on a free loopback port, with further arguments for redis-server, and returns when it accepts connections.
// The caller closes it.
func StartRedis(args ...string) (*RedisServer, error) {
	path, err := lookPath(installRedis, "redis-server", "valkey-server")
	if err != nil {
		return nil, err
	}
	var errs []error
	for range startAttempts {
		s, err := startRedis(path, args)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func startRedis(path string, args []string) (*RedisServer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	base := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "notice", "--logfile", "",
	}
	s := &RedisServer{
		proc: &process{path: path, args: append(base, args...), ready: "Ready to accept connections"},
		addr: fmt.Sprintf("127.0.0.1:%d", port),
		dir:  dir,
	}
	if err := s.proc.start(); err != nil {
		os.RemoveAll(dir) // the start's error is the one to report
		return nil, err
	}
	return s, nil
}

// Addr returns host:port. It stays the same over Kill, Stop and Start.
func (s *RedisServer) Addr() string { return s.addr }

// Start starts the server again after Kill or Stop, on the same port and folder, and returns when it accepts connections.
func (s *RedisServer) Start() error { return s.proc.start() }

// Kill ends the server with SIGKILL and waits until it is gone. Killing one that does not run is no error.
func (s *RedisServer) Kill() error { return s.proc.kill() }

// Stop ends the server with SIGTERM and waits until it is gone. Stopping one that does not run is no error.
func (s *RedisServer) Stop() error { return s.proc.stop() }

// Pause freezes the server (SIGSTOP): connections are still accepted by the kernel, and nothing is answered.
func (s *RedisServer) Pause() error { return s.proc.pause() }

// Resume lets a paused server run on (SIGCONT).
func (s *RedisServer) Resume() error { return s.proc.resume() }

// Log returns the end of what the server printed since its last start, at least the last 64 KiB of it.
func (s *RedisServer) Log() string { return s.proc.log() }

// Close kills the server and removes its folder.
func (s *RedisServer) Close() error {
	return errors.Join(s.proc.kill(), os.RemoveAll(s.dir))
}

// Client returns a client of the server with go-redis's defaults, closed when the test ends.
func (s *RedisServer) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("testenv: close redis client: %v", err)
		}
	})
	return c
}

// server is what the servers of this package have in common at the end of a test.
type server interface {
	Log() string
	Close() error
}

func closeServer(t testing.TB, name string, s server) {
	t.Helper()
	if t.Failed() {
		t.Logf("log of %s: %s", name, SaveLog(name, s.Log()))
	}
	if err := s.Close(); err != nil {
		t.Errorf("testenv: close %s: %v", name, err)
	}
}
