//go:build faults

package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

func oneMariaDB(t *testing.T, w *world) {
	s := testenv.NewMariaDB(t)
	w.database(t, s, s.Addr())
}

func oneRedis(t *testing.T, w *world) {
	w.redis = testenv.Redis(t)
	w.env["REDIS_ADDR"] = w.redis.Addr()
}

// connectionsTaken lets other clients take all connections of the database for some time, so that
// the service has none.
func connectionsTaken(during time.Duration) step {
	return func(f *fault) {
		config, err := mysql.ParseDSN(f.mariadb.DSN(""))
		f.check(err)
		other := open(f.T, config)
		sqlDo("SET GLOBAL max_connections = 100")(f)
		var taken []*sql.Conn
		for end := time.Now().Add(during); time.Now().Before(end); {
			conn, err := other.Conn(f.Context())
			if err == nil {
				taken = append(taken, conn)
				continue
			}
			if full := new(mysql.MySQLError); !errors.As(err, &full) || full.Number != 1040 {
				f.Fatal(err)
			}
			// Another client takes the place at once.
			if _, err := f.db.ExecContext(f.Context(), "KILL CONNECTION USER 'app'@'127.0.0.1'"); err != nil {
				f.Fatal(err)
			}
		}
		for _, conn := range taken {
			f.check(conn.Close())
		}
		f.check(other.Close())
	}
}

// galera starts three nodes of Galera behind HAProxy. It sends everything to the first node that
// accepts connections, as docs/operations.md advises.
func galera(t *testing.T, w *world) {
	scripts, err := filepath.Abs("testdata")
	must(t, err)
	t.Setenv("PATH", scripts+":"+os.Getenv("PATH"))
	var members []string
	for range 3 {
		members = append(members, freeAddress(t))
	}
	config := &strings.Builder{}
	address := freeAddress(t)
	fmt.Fprintf(config, `defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
listen mysql
  bind %s
  default-server check inter 200ms fall 2 rise 2 on-marked-down shutdown-sessions
`, address)
	var nodes []*testenv.MariaDBServer
	for i, member := range members {
		args := []string{
			"--wsrep-on=ON", "--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-sst-method=copy",
			"--wsrep-cluster-address=gcomm://" + strings.Join(members, ","), "--wsrep-node-address=127.0.0.1",
			"--wsrep-provider-options=gmcast.listen_addr=tcp://" + member + ";ist.recv_addr=" + freeAddress(t) + ";gcache.size=16M",
			"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2",
		}
		backup := "backup"
		if i == 0 {
			args, backup = append(args, "--wsrep-new-cluster"), ""
		}
		node := testenv.NewMariaDB(t, args...)
		nodes = append(nodes, node)
		fmt.Fprintf(config, "  server node%d %s %s\n", i+1, node.Addr(), backup)
	}
	file := filepath.Join(w.dir, "haproxy.cfg")
	must(t, os.WriteFile(file, []byte(config.String()), 0o600))
	run(t, "haproxy", nil, "-db", "-f", file)
	waitFor(t, time.Minute, "HAProxy listens", func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
	w.database(t, nodes[0], address)
	for _, node := range nodes {
		db, err := sql.Open("mysql", node.DSN(""))
		must(t, err)
		defer db.Close()
		waitFor(t, time.Minute, "all nodes are members", func() bool {
			var name, size string
			err := db.QueryRow("SHOW STATUS LIKE 'wsrep_cluster_size'").Scan(&name, &size)
			return err == nil && size == "3"
		})
	}
}

// run runs a program until the test ends.
func run(t *testing.T, program string, ready *regexp.Regexp, args ...string) {
	for _, dir := range []string{"", "/usr/sbin/", "/usr/local/sbin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			program = path
			break
		}
	}
	p := testenv.NewProcess(testenv.Program{Path: program, Args: args, Ready: ready})
	must(t, p.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s printed: %s", program, testenv.SaveOutput(filepath.Base(program), p.Output()))
		}
		must(t, p.Kill())
	})
}

var galeraRows = []row{{name: "the node with the connections killed", promised: withoutDatabase, prompt: true,
	steps: []step{killed(theMariaDB), databaseWorks}}}

func client(t *testing.T, o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sentinel starts a Redis with a replica and three Sentinels, which replace it after a second.
func sentinel(t *testing.T, w *world) {
	w.redis = testenv.Redis(t)
	host, port, err := net.SplitHostPort(w.redis.Addr())
	must(t, err)
	w.replica = testenv.Redis(t, "--replicaof", host, port)
	var sentinels []string
	for i := range 3 {
		address := freeAddress(t)
		sentinels = append(sentinels, address)
		_, own, err := net.SplitHostPort(address)
		must(t, err)
		file := filepath.Join(w.dir, fmt.Sprintf("sentinel-%d.conf", i))
		must(t, os.WriteFile(file, fmt.Appendf(nil, `bind 127.0.0.1
port %s
dir %s
sentinel monitor shares %s %s 2
sentinel down-after-milliseconds shares 1000
sentinel failover-timeout shares 10000
`, own, w.dir, host, port), 0o600))
		run(t, "redis-server", regexp.MustCompile("Sentinel ID is"), file, "--sentinel")
		c := client(t, &redis.Options{Addr: address, Protocol: 2})
		waitFor(t, time.Minute, "the Sentinel knows the others", func() bool {
			state, err := c.Do(t.Context(), "SENTINEL", "MASTER", "shares").Slice()
			text := fmt.Sprint(state)
			return err == nil && strings.Contains(text, "num-slaves 1 ") && strings.Contains(text, fmt.Sprintf("num-other-sentinels %d ", i))
		})
	}
	w.env["REDIS_TYPE"], w.env["REDIS_MASTER"], w.env["REDIS_ADDR"] = "sentinel", "shares", strings.Join(sentinels, ",")
}

// redisCluster starts three primaries with a replica each, which replaces its primary after a second.
func redisCluster(t *testing.T, w *world) {
	var nodes []*testenv.RedisServer
	var addresses []string
	for range 6 {
		_, bus, err := net.SplitHostPort(freeAddress(t))
		must(t, err)
		node := testenv.Redis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", bus)
		nodes, addresses = append(nodes, node), append(addresses, node.Addr())
	}
	out, err := exec.Command("redis-cli", append(append([]string{"--cluster", "create"}, addresses...), "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	must(t, err, func() error {
		if !strings.Contains(string(out), "All 16384 slots covered") {
			return errors.New(string(out))
		}
		return nil
	}())
	// The first primary is to be killed. Its replica is the one that replicates its port.
	w.redis = nodes[0]
	_, port, err := net.SplitHostPort(w.redis.Addr())
	must(t, err)
	waitFor(t, time.Minute, "the first primary has a replica", func() bool {
		for _, node := range nodes[3:] {
			info, err := client(t, &redis.Options{Addr: node.Addr()}).Info(t.Context(), "replication").Result()
			if err == nil && strings.Contains(info, "master_port:"+port+"\r") && strings.Contains(info, "master_link_status:up") {
				w.replica = node
				return true
			}
		}
		return false
	})
	w.env["REDIS_TYPE"], w.env["REDIS_ADDR"] = "cluster", strings.Join(addresses, ",")
}

// replicaWorks waits until the replica of the killed Redis accepts writes.
var replicaWorks = works(func(ctx context.Context, f *fault) error {
	c := redis.NewClient(&redis.Options{Addr: f.replica.Addr(), MaxRetries: -1})
	defer c.Close()
	key := "bare" // a key that it stores: in a cluster, a third of the keys
	for i := 0; ; i++ {
		err := c.Set(ctx, fmt.Sprint(key, i), "", time.Minute).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "MOVED") || i == 100 {
			return err
		}
	}
})

var (
	clusterRows = []row{{name: "a primary killed, its replica promoted", promised: everything,
		steps: []step{killed(theRedis), replicaWorks, cacheUsed}}}
	sentinelRows = []row{{name: "failover", promised: everything, steps: []step{killed(theRedis), replicaWorks, cacheUsed}}}
)

// aclPassword is the password of the service's user in Redis.
const aclPassword = "acl-password-of-the-faults-suite"

// redisWithACL starts a Redis whose user has exactly the documented rights.
func redisWithACL(t *testing.T, w *world) {
	oneRedis(t, w)
	rules := []any{"ACL", "SETUSER", "shares", "on", ">" + aclPassword}
	for _, rule := range strings.Fields(documentedACL(t)) {
		rules = append(rules, rule)
	}
	must(t, client(t, &redis.Options{Addr: w.redis.Addr()}).Do(t.Context(), rules...).Err())
	w.env["REDIS_USERNAME"], w.env["REDIS_PASSWORD"] = "shares", aclPassword
}

func documentedACL(t *testing.T) string { return "~* &* +@all" }

var aclRows = []row{
	{name: "no fault", promised: everything, steps: []step{fixed, cacheUsed, wait(lasting)}},
	{name: "the right to DEL taken for 3 s", promised: everything,
		steps: []step{redisDo("ACL", "SETUSER", "shares", "-del"), wait(lasting), redisDo("ACL", "SETUSER", "shares", "+del"), fixed, cacheUsed}},
}
