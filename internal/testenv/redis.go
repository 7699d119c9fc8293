package testenv

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

const installRedis = "apt-get install redis-server, or brew install redis"

// RedisServer is one redis-server process. Its methods are safe for concurrent use.
type RedisServer struct{ *server }

// Redis starts a Redis for this test alone. It stops when the test ends. A Kill loses its data
// unless args say otherwise, such as "--appendonly", "yes", "--appendfsync", "always".
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s, err := StartRedis(args...)
	if err != nil {
		t.Fatal(err)
	}
	s.closeWith(t)
	return s
}

// StartRedis starts a Redis on a free loopback port with args for redis-server, and returns when it
// accepts connections. The caller closes it.
func StartRedis(args ...string) (*RedisServer, error) {
	path, err := lookPath(installRedis, "redis-server", "valkey-server")
	if err != nil {
		return nil, err
	}
	s, err := startServer(path, func(dir, port string) ([]string, string, error) {
		return append([]string{
			"--bind", "127.0.0.1", "--port", port, "--dir", dir,
			"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "notice", "--logfile", "",
		}, args...), "Ready to accept connections", nil
	})
	if err != nil {
		return nil, err
	}
	return &RedisServer{s}, nil
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
