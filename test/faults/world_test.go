//go:build faults

package faults

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"shares/internal/testenv"
	"shares/test/testprocess"
	"shares/test/traffic"
)

const (
	drain  = time.Second     // SHARES_DRAIN of every process
	deadly = 5 * time.Second // SHARES_TIMEOUT: no answer may take longer, except on a busy machine
)

const (
	readers = 40 // not written during the load, so that their rows stay cached
	writers = 40
	codes   = 20 // existing QR codes
)

// installation is a way to run the service, and the faults that it is tested with.
type installation struct {
	name  string
	mysql func(*testing.T, *world) // starts the database; nil: one MariaDB
	redis func(*testing.T, *world) // starts Redis; nil: one Redis
	apart bool                     // api and rpc instead of serve
	rows  []row
}

// world is a running installation.
type world struct {
	dir     string
	mariadb *testenv.MariaDBServer // gets the writes
	redis   *testenv.RedisServer   // the one that is broken
	wechat  *server
	db      *sql.DB // an administrator's, to check what is stored
	app     *sql.DB // the service's user, with a new connection for each statement
	env     map[string]string

	edges []*server // get the requests
	users []*server // the user services behind them, if separate

	people *traffic.People
	ledger *traffic.Ledger
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// start starts two replicas of the service, warms them, and logs the load's users in.
func (in installation) start(t *testing.T) *world {
	w := &world{dir: t.TempDir()}
	address := freeAddress(t)
	w.wechat = w.run(t, "wechat", address, "", testprocess.Options{Args: []string{"simulator", "--listen", address}})
	w.env = map[string]string{
		"SHARES_MODE":       "pro",
		"SHARES_ACCESS_LOG": "off",
		"SHARES_PUBLIC_URL": "http://shares.example.test",
		"SHARES_DRAIN":      drain.String(),
		"SESSION_SECRET":    rand.Text() + rand.Text(),
		"WECHAT_BASE_URL":   w.wechat.Target.URL,
		"WECHAT_APPID":      "wxsimulator0000000",
		"WECHAT_SECRET":     "simulator-secret-not-for-release",
		"QRCODE_BUCKET":     "file://" + filepath.Join(w.dir, "pictures"),
	}
	if in.mysql == nil {
		in.mysql = oneMariaDB
	}
	if in.redis == nil {
		in.redis = oneRedis
	}
	in.mysql(t, w)
	in.redis(t, w)
	w.command(t, "migrate")
	if in.apart {
		w.users = w.servers(t, 2, "rpc", nil)
		var targets []string
		for _, u := range w.users {
			targets = append(targets, u.Address())
		}
		w.edges = w.servers(t, 2, "api", map[string]string{"WEIXIN_RPC_TARGET": "direct:///" + strings.Join(targets, ",")})
	} else {
		w.edges = w.servers(t, 2, "serve", nil)
	}
	w.moveIn(t)
	return w
}

// command runs a command of shares that must succeed.
func (w *world) command(t *testing.T, args ...string) {
	t.Helper()
	if out, code := w.try(t, args...); code != 0 {
		t.Fatalf("shares %v: code %d: %s", args, code, out)
	}
}

func (w *world) try(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	out, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: args, Env: w.env, Dir: w.dir, Shipped: true})
	must(t, err)
	return out, code
}

// servers starts n ready servers of one kind, each on an address that it keeps across restarts.
func (w *world) servers(t *testing.T, n int, name string, env map[string]string) []*server {
	var servers []*server
	for i := range n {
		address, admin := freeAddress(t), freeAddress(t)
		_, port, err := net.SplitHostPort(address)
		must(t, err)
		all := maps.Clone(w.env)
		maps.Copy(all, env)
		all["SHARES_ADMIN_LISTEN"] = admin
		if name == "rpc" {
			all["SHARES_RPC_LISTEN"] = address
		} else {
			all["SHARES_PORT"] = port
		}
		servers = append(servers, w.run(t, fmt.Sprintf("%s %d", name, i+1), address, admin,
			testprocess.Options{Args: []string{name}, Env: all, Dir: w.dir, Shipped: true}))
	}
	for _, s := range servers {
		s.waitReady(t)
	}
	return servers
}

func freeAddress(t *testing.T) string {
	address, err := testenv.FreeAddress()
	must(t, err)
	return address
}

func (w *world) targets() []*traffic.Target {
	var targets []*traffic.Target
	for _, s := range w.edges {
		targets = append(targets, s.Target)
	}
	return targets
}

// moveIn logs users in, creates the QR codes and warms both replicas.
func (w *world) moveIn(t *testing.T) {
	p, err := traffic.LogIn(t.Context(), w.targets(), w.wechat.Target.URL, "user", readers, writers)
	must(t, err)
	p.Renewers = p.Readers
	for i := range codes {
		for _, edge := range w.edges { // each must have seen that the code exists
			path, a := edge.QRCode(t.Context(), p.Readers[i].Session(), traffic.RepeatedScene(i))
			must(t, a.Failure())
			if edge == w.edges[0] {
				p.Pictures = append(p.Pictures, path)
			}
		}
	}
	w.people, w.ledger = p, traffic.NewLedger(p.Writers)
	waitFor(t, time.Minute, "all readers are cached", func() bool {
		before := w.databaseReads(t)
		must(t, traffic.Pause(t.Context(), 600*time.Millisecond)) // a row that Redis lacks stays in memory for 500 ms
		for _, reader := range p.Readers {
			for _, edge := range w.edges {
				must(t, edge.Post(t.Context(), "get_user_info", reader.Session(), struct{}{}).Failure())
			}
		}
		return w.databaseReads(t) == before
	})
}

func (w *world) databaseReads(t *testing.T) (n float64) {
	for _, s := range w.caching() {
		n += s.metric(t, `shares_cache_reads_total{from="database"}`)
	}
	return n
}

// database makes the service use a new database of w.mariadb at address, which may be a proxy's.
func (w *world) database(t *testing.T, address string) {
	name, err := w.mariadb.CreateDatabase(t.Context())
	must(t, err)
	dsn, err := w.mariadb.UserDSN(t.Context(), name)
	must(t, err)
	app, err := mysql.ParseDSN(dsn)
	must(t, err)
	app.Addr = address
	w.env["MYSQL_DSN"] = app.FormatDSN()
	app.Timeout, app.ReadTimeout = time.Second, time.Second
	w.app = open(t, app)
	w.app.SetMaxIdleConns(-1)
	admin, err := mysql.ParseDSN(w.mariadb.DSN(name))
	must(t, err)
	admin.Addr = address
	w.db = open(t, admin)
	_, err = w.db.ExecContext(t.Context(), "CREATE TABLE bare (n BIGINT AUTO_INCREMENT PRIMARY KEY)") // see databaseWorks
	must(t, err)
}

func open(t *testing.T, config *mysql.Config) *sql.DB {
	config.Logger = &mysql.NopLogger{} // closed connections of a killed database are expected
	connector, err := mysql.NewConnector(config)
	must(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// stored returns a function that returns a user's profile in the database.
func (w *world) stored(t *testing.T) func(*traffic.Person) (traffic.Profile, error) {
	rows, err := w.db.QueryContext(t.Context(), "SELECT openid, nick_name, city, province, country FROM wx_userinfo")
	must(t, err)
	defer rows.Close()
	stored := make(map[string]traffic.Profile)
	for rows.Next() {
		var openid string
		values := make([]string, len(traffic.Fields))
		must(t, rows.Scan(&openid, &values[0], &values[1], &values[2], &values[3]))
		if stored[openid] != nil {
			t.Fatal("two rows of one openid")
		}
		stored[openid] = traffic.Profile{}
		for i, field := range traffic.Fields {
			stored[openid][field] = values[i]
		}
	}
	must(t, rows.Err())
	return func(p *traffic.Person) (traffic.Profile, error) { return stored[p.OpenID], nil }
}

// caching are the processes that cache users.
func (w *world) caching() []*server {
	if len(w.users) > 0 {
		return slices.Clone(w.users)
	}
	return slices.Clone(w.edges)
}
