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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

func oneMariaDB(t *testing.T, w *world) {
	w.mariadb = testenv.NewMariaDB(t)
	w.database(t, w.mariadb.Addr())
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
			// Another client takes the free connection.
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
	t.Setenv("PATH", scripts+":"+os.Getenv("PATH")+":/usr/sbin")
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
		if i == 0 {
			w.mariadb = node
		}
		fmt.Fprintf(config, "  server node%d %s %s\n", i+1, node.Addr(), backup)
	}
	file := filepath.Join(w.dir, "haproxy.cfg")
	must(t, os.WriteFile(file, []byte(config.String()), 0o600))
	haproxy := testenv.NewProcess(testenv.Program{Path: "haproxy", Args: []string{"-db", "-f", file}})
	must(t, haproxy.Start())
	t.Cleanup(func() { must(t, haproxy.Kill()) })
	waitFor(t, time.Minute, "HAProxy listens", func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
	w.database(t, address)
	waitFor(t, time.Minute, "all nodes are members", func() bool {
		var name, size string
		return w.db.QueryRow("SHOW STATUS LIKE 'wsrep_cluster_size'").Scan(&name, &size) == nil && size == "3"
	})
}

var galeraRows = []row{{name: "the node with the connections killed", promised: withoutDatabase, prompt: true,
	steps: []step{killed(theMariaDB), databaseWorks}}}

// sentinel starts a Redis with a replica and three Sentinels.
func sentinel(t *testing.T, w *world) {
	w.redis = testenv.Redis(t)
	testenv.ReplicaOf(t, w.redis)
	var sentinels []string
	for range 3 {
		sentinels = append(sentinels, testenv.Sentinel(t, w.redis).Addr())
	}
	w.env["REDIS_TYPE"], w.env["REDIS_MASTER"], w.env["REDIS_ADDR"] = "sentinel", testenv.SentinelMaster, strings.Join(sentinels, ",")
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
	create := slices.Concat([]string{"--cluster", "create"}, addresses, []string{"--cluster-replicas", "1", "--cluster-yes"})
	if out, err := exec.Command("redis-cli", create...).CombinedOutput(); err != nil {
		t.Fatalf("create a cluster: %v: %s", err, out)
	}
	w.redis = nodes[0]
	waitFor(t, time.Minute, "the first primary has a replica", func() bool {
		n, err := w.redis.Client(t).Wait(t.Context(), 1, time.Second).Result()
		return err == nil && n == 1
	})
	w.env["REDIS_TYPE"], w.env["REDIS_ADDR"] = "cluster", strings.Join(addresses, ",")
}

// redisWorks waits until a new client of go-redis can write keys of all primaries.
var redisWorks = works(func(ctx context.Context, f *fault) error {
	c := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: strings.Split(f.env["REDIS_ADDR"], ","), MasterName: f.env["REDIS_MASTER"], MaxRetries: -1, DialerRetries: 1,
	})
	defer c.Close()
	for i := range 20 {
		if err := c.Set(ctx, fmt.Sprintf("bare-%d", i), "", time.Minute).Err(); err != nil {
			return err
		}
	}
	return nil
})

var (
	clusterRows = []row{{name: "a primary killed, its replica promoted", promised: everything,
		steps: []step{killed(theRedis), redisWorks, cacheUsed}}}
	sentinelRows = []row{{name: "failover", promised: everything, steps: []step{killed(theRedis), redisWorks, cacheUsed}}}
)

// redisWithACL starts a Redis whose user has exactly the documented rights.
func redisWithACL(t *testing.T, w *world) {
	const user, password = "shares", "acl-password-of-the-faults-suite"
	oneRedis(t, w)
	w.redis.Restrict(t, user, password, "shares:"+w.env["WECHAT_APPID"])
	w.env["REDIS_USERNAME"], w.env["REDIS_PASSWORD"] = user, password
}

var aclRows = []row{
	{name: "no fault", promised: everything, steps: []step{fixed, cacheUsed, wait(lasting)}},
	{name: "the right to DEL taken for 3 s", promised: everything,
		steps: []step{redisDo("ACL", "SETUSER", "shares", "-del"), wait(lasting), redisDo("ACL", "SETUSER", "shares", "+del"), fixed, cacheUsed}},
}
