package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
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

type world struct {
	rate    int
	dir     string
	mariadb *testenv.MariaDBServer
	redis   *testenv.RedisServer
	wechat  *server
	db      *sql.DB // to check what is stored
	env     map[string]string

	edges []*server // get the requests
	users []*server // the user services behind them, if separate

	people   *traffic.People
	ledger   *traffic.Ledger
	settings int // started so far: each has its own users
}

func newWorld(ctx context.Context, rate int) (_ *world, err error) {
	w := &world{rate: rate}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "shares-faults-"); err != nil {
		return nil, err
	}
	if w.mariadb, err = testenv.StartMariaDB(testenv.Durable); err != nil {
		return nil, err
	}
	if w.redis, err = testenv.StartRedis(); err != nil {
		return nil, err
	}
	database, err := w.mariadb.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	dsn := w.mariadb.DSN(database)
	userDSN, err := w.mariadb.UserDSN(ctx, database)
	if err != nil {
		return nil, err
	}
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config.Logger = &mysql.NopLogger{} // closed connections of a killed database are expected
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	w.db = sql.OpenDB(connector)
	address, err := testenv.FreeAddress()
	if err != nil {
		return nil, err
	}
	w.wechat, err = startServer("wechat", address, "", testprocess.Options{Args: []string{"simulator", "--listen", address}})
	if err != nil {
		return nil, err
	}
	w.env = map[string]string{
		"SHARES_MODE":       "pro",
		"SHARES_ACCESS_LOG": "off",
		"SHARES_PUBLIC_URL": "http://shares.example.test",
		"SHARES_DRAIN":      drain.String(),
		"SESSION_SECRET":    rand.Text() + rand.Text(),
		"MYSQL_DSN":         userDSN,
		"REDIS_ADDR":        w.redis.Addr(),
		"WECHAT_BASE_URL":   w.wechat.Target.URL,
		"WECHAT_APPID":      "wxsimulator0000000",
		"WECHAT_SECRET":     "simulator-secret-not-for-release",
		"QRCODE_BUCKET":     "file://" + filepath.Join(w.dir, "pictures"),
	}
	if out, code, err := w.command(ctx, "migrate"); err != nil || code != 0 {
		return nil, errors.Join(fmt.Errorf("shares migrate: code %d: %s", code, out), err)
	}
	return w, nil
}

func (w *world) command(ctx context.Context, args ...string) (string, int, error) {
	return testprocess.Once(ctx, testprocess.Options{Args: args, Env: w.env, Dir: w.dir, Shipped: true})
}

// startServers starts n servers of one kind, each on an address that it keeps across restarts.
func (w *world) startServers(n int, name string, env map[string]string) ([]*server, error) {
	var servers []*server
	for i := range n {
		address, err := testenv.FreeAddress()
		if err != nil {
			return servers, err
		}
		admin, err := testenv.FreeAddress()
		if err != nil {
			return servers, err
		}
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return servers, err
		}
		all := maps.Clone(w.env)
		maps.Copy(all, env)
		all["SHARES_ADMIN_LISTEN"] = admin
		if name == "rpc" {
			all["SHARES_RPC_LISTEN"] = address
		} else {
			all["SHARES_PORT"] = port
		}
		s, err := startServer(fmt.Sprintf("%s %d", name, i+1), address, admin,
			testprocess.Options{Args: []string{name}, Env: all, Dir: w.dir, Shipped: true})
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

func serveTwice(ctx context.Context, w *world) (err error) {
	if w.edges, err = w.startServers(2, "serve", nil); err != nil {
		return err
	}
	return w.ready(ctx)
}

func apartTwice(ctx context.Context, w *world) (err error) {
	if w.users, err = w.startServers(2, "rpc", nil); err != nil {
		return err
	}
	var targets []string
	for _, u := range w.users {
		targets = append(targets, u.Address())
	}
	target := map[string]string{"WEIXIN_RPC_TARGET": "direct:///" + strings.Join(targets, ",")}
	if w.edges, err = w.startServers(2, "api", target); err != nil {
		return err
	}
	return w.ready(ctx)
}

func (w *world) targets() []*traffic.Target {
	var targets []*traffic.Target
	for _, s := range w.edges {
		targets = append(targets, s.Target)
	}
	return targets
}

// ready waits until every server is ready, and logs the load's users in.
func (w *world) ready(ctx context.Context) error {
	for _, s := range append(w.users, w.edges...) {
		if err := s.waitReady(ctx); err != nil {
			return err
		}
	}
	return w.moveIn(ctx)
}

func (w *world) stopReplicas() error {
	var errs []error
	for _, s := range append(w.edges, w.users...) {
		errs = append(errs, s.Kill())
	}
	w.edges, w.users = nil, nil
	return errors.Join(errs...)
}

func (w *world) close() error {
	errs := []error{w.stopReplicas()}
	if w.wechat != nil {
		errs = append(errs, w.wechat.Kill())
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	if w.redis != nil {
		errs = append(errs, w.redis.Close())
	}
	if w.mariadb != nil {
		errs = append(errs, w.mariadb.Close())
	}
	if w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}
