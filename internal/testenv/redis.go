package testenv

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	path, err := LookPath(installRedis, "redis-server", "valkey-server")
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

// SentinelMaster is the name under which a Sentinel knows its master.
const SentinelMaster = "shares"

// Sentinel starts a sentinel for this test alone. It stops when the test ends.
func Sentinel(t testing.TB, master *RedisServer) *RedisServer {
	t.Helper()
	s, err := StartSentinel(master)
	if err != nil {
		t.Fatal(err)
	}
	s.closeWith(t)
	return s
}

// StartSentinel starts a sentinel that watches the master and its replicas. It decides alone, half
// a second after the master's last answer. It must start after the replicas are connected. The
// caller closes it.
func StartSentinel(master *RedisServer) (*RedisServer, error) {
	path, err := LookPath(installRedis, "redis-server", "valkey-server")
	if err != nil {
		return nil, err
	}
	_, masterPort, err := net.SplitHostPort(master.addr)
	if err != nil {
		return nil, err
	}
	s, err := startServer(path, func(dir, port string) ([]string, string, error) {
		const name = SentinelMaster
		file := filepath.Join(dir, "sentinel.conf")
		text := "bind 127.0.0.1\nport " + port + "\ndir " + dir + "\n" +
			"sentinel monitor " + name + " 127.0.0.1 " + masterPort + " 1\n" +
			"sentinel down-after-milliseconds " + name + " 500\n" +
			"sentinel failover-timeout " + name + " 3000\n"
		return []string{file, "--sentinel"}, "Sentinel ID is", os.WriteFile(file, []byte(text), 0o600)
	})
	if err != nil {
		return nil, err
	}
	return &RedisServer{s}, nil
}

// ReplicaOf starts a replica of a master for this test alone, and returns when it has the master's
// data.
func ReplicaOf(t testing.TB, master *RedisServer) *RedisServer {
	t.Helper()
	_, port, err := net.SplitHostPort(master.addr)
	if err == nil {
		err = master.Client(t).ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := Redis(t, "--replicaof", "127.0.0.1", port)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		info := s.Client(t).InfoMap(t.Context(), "replication")
		if info.Item("Replication", "master_link_status") == "up" {
			return s
		}
		if time.Now().After(end) {
			t.Fatal("testenv: the replica is not connected after a minute")
		}
	}
}

// RedisCluster starts a cluster of one node for this test alone. It stops when the test ends.
func RedisCluster(t testing.TB) *RedisServer {
	t.Helper()
	s := Redis(t, "--cluster-enabled", "yes")
	c := s.Client(t)
	if err := c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(c.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
			return s
		}
		if time.Now().After(end) {
			t.Fatal("testenv: the cluster is not ready after a minute")
		}
	}
}

// Restrict gives a user exactly the rights of docs/operations.md for the prefix, and then changes
// them by rules.
func (s *RedisServer) Restrict(t testing.TB, user, password, prefix string, rules ...string) {
	t.Helper()
	rules = slices.Concat([]string{"reset", "on", ">" + password}, DocumentedACL(t, prefix), rules)
	if err := s.Client(t).ACLSetUser(t.Context(), user, rules...).Err(); err != nil {
		t.Fatal(err)
	}
}

// DocumentedACL returns the rules of the user in docs/operations.md, with the prefix.
func DocumentedACL(t testing.TB, prefix string) []string {
	t.Helper()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "shares").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "ACL SETUSER shares reset on >PASSWORD ")
	line, _, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatal("testenv: docs/operations.md has no line ACL SETUSER")
	}
	return strings.Fields(strings.ReplaceAll(line, "shares:wx0123456789abcdef", prefix))
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
