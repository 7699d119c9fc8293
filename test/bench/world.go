package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"shares/api/sessiontest"
	"shares/internal/testenv"
	"shares/model"
	"shares/simulator"
)

// sessionSecret signs the sessions of one benchmark.
const sessionSecret = "benchmark-secret-of-32-characters"

// world is everything that the measured programs use: a MariaDB with durable commits, a Redis, an
// instant WeChat, and users.
type world struct {
	dir     string
	binary  string // shares, built as shipped
	maria   *testenv.MariaDBServer
	redis   *testenv.RedisServer
	wechat  string // its URL
	session func(userID int64, epoch uint64) string

	programs []*program
	closers  []func() error
}

func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "shares-bench-"); err != nil {
		return w, err
	}
	w.onClose(func() error { return os.RemoveAll(w.dir) })

	w.binary = filepath.Join(w.dir, "shares")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "no_k8s,grpcnotrace", "-trimpath", "-ldflags", "-s -w", "-o", w.binary, "shares")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return w, fmt.Errorf("build: %w\n%s", err, out)
	}
	if w.maria, err = testenv.StartMariaDB(testenv.Durable); err != nil {
		return w, err
	}
	w.onClose(w.maria.Close)
	if err := w.givePool(ctx); err != nil {
		return w, err
	}
	if w.redis, err = testenv.StartRedis(); err != nil {
		return w, err
	}
	w.onClose(w.redis.Close)
	wechat := httptest.NewServer(instantWechat())
	w.onClose(func() error { wechat.Close(); return nil })
	w.wechat = wechat.URL

	w.session = sessiontest.Issuer(sessionSecret, 2*time.Hour)
	return w, nil
}

func (w *world) onClose(f func() error) { w.closers = append(w.closers, f) }

func (w *world) close() error {
	var errs []error
	for _, p := range w.programs {
		errs = append(errs, p.Stop())
	}
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// givePool makes MariaDB keep the large table in memory, as an operator would: a million users take
// about 500 MB, and test servers have 64 MB.
func (w *world) givePool(ctx context.Context) (err error) {
	db, err := sql.Open("mysql", w.maria.DSN(""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "SET GLOBAL innodb_buffer_pool_size = 1 << 30")
	return err
}

func (w *world) stop(programs ...*program) error {
	var errs []error
	for _, p := range programs {
		errs = append(errs, p.Stop())
	}
	w.programs = slices.DeleteFunc(w.programs, func(p *program) bool { return slices.Contains(programs, p) })
	return errors.Join(errs...)
}

// database creates a database with n users, whose ids and epochs are 1 to n, and returns its DSN.
func (w *world) database(ctx context.Context, n int) (dsn string, err error) {
	name, err := w.maria.CreateDatabase(ctx)
	if err != nil {
		return "", err
	}
	dsn = w.maria.DSN(name)
	migrate := exec.CommandContext(ctx, w.binary, "migrate")
	migrate.Dir = w.dir
	migrate.Env = []string{"MYSQL_DSN=" + dsn}
	if out, err := migrate.CombinedOutput(); err != nil {
		return "", fmt.Errorf("migrate: %w\n%s", err, out)
	}
	db, err := model.OpenMySQL(dsn, model.MySQLOptions{Timeout: 5 * time.Minute})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	const batch = 50_000
	for from := 1; from <= n; from += batch {
		if err := insertUsers(ctx, db, from, min(from+batch-1, n)); err != nil {
			return "", fmt.Errorf("insert users: %w", err)
		}
	}
	return dsn, nil
}

// insertUsers fills every column of get_user_info with values of realistic length.
func insertUsers(ctx context.Context, db *sql.DB, from, to int) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf("INSERT INTO wx_userinfo (id, openid, nick_name, avatar_url, gender, city, province, country, language, phone, "+
		"`group`, session_epoch, last_login_at, created_at, updated_at) "+
		"SELECT seq, %s, '小明同学', CONCAT('https://thirdwx.qlogo.cn/mmopen/vi_32/', REPEAT('Q0j4TwGTfTL', 8), '/132'), '1', '深圳', '广东', '中国', 'zh_CN', "+
		"'13800138000', 'vip,beta', seq, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), UTC_TIMESTAMP(3) FROM seq_%d_to_%d",
		openidSQL, from, to))
	return err
}

const openidSQL = "CONCAT('oBench', LPAD(seq, 22, '0'))"

func openid(id int) string { return fmt.Sprintf("oBench%022d", id) }

// serve starts `shares serve` on a database. prefix names its log.
func (w *world) serve(dsn, prefix string) (*program, string, error) {
	env, err := w.settings(dsn)
	if err != nil {
		return nil, "", err
	}
	env["SHARES_REDIS_PREFIX"] = prefix
	return w.start(prefix, env, "serve")
}

func (w *world) split(dsn string) (programs []*program, address string, err error) {
	env, err := w.settings(dsn)
	if err != nil {
		return nil, "", err
	}
	if env["SHARES_RPC_LISTEN"], err = testenv.FreeAddress(); err != nil {
		return nil, "", err
	}
	env["WEIXIN_RPC_TARGET"] = env["SHARES_RPC_LISTEN"]
	for _, command := range []string{"rpc", "api"} {
		var p *program
		if p, address, err = w.start(command, env, command); err != nil {
			return nil, "", err
		}
		programs = append(programs, p)
	}
	return programs, address, nil
}

func (w *world) settings(dsn string) (map[string]string, error) {
	pictures := filepath.Join(w.dir, "pictures")
	if err := os.MkdirAll(pictures, 0o700); err != nil {
		return nil, err
	}
	return map[string]string{
		"SHARES_MODE":       "pro",
		"SHARES_HOST":       "127.0.0.1",
		"SHARES_PUBLIC_URL": "https://shares.example.com",
		"SHARES_RATE_LIMIT": "off", // one user sends thousands of requests a second
		"SESSION_SECRET":    sessionSecret,
		"MYSQL_DSN":         dsn,
		"REDIS_ADDR":        w.redis.Addr(),
		"QRCODE_BUCKET":     "file://" + pictures,
		"WECHAT_APPID":      simulator.DefaultAppID,
		"WECHAT_SECRET":     simulator.DefaultSecret,
		"WECHAT_BASE_URL":   w.wechat,
	}, nil
}

// start starts the binary with a free port for each listener, and returns it with the address of
// its HTTP edge.
func (w *world) start(name string, env map[string]string, command string) (*program, string, error) {
	address, admin, err := addresses()
	if err != nil {
		return nil, "", err
	}
	env = maps.Clone(env)
	_, env["SHARES_PORT"], _ = net.SplitHostPort(address)
	env["SHARES_ADMIN_LISTEN"] = admin
	p, err := start(w.dir, name, admin, env, w.binary, command)
	if err == nil {
		w.programs = append(w.programs, p)
	}
	return p, address, err
}

// reference starts one of the references with the given answer.
func (w *world) reference(name, answer string) (*program, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(w.dir, "answer.json")
	if err := os.WriteFile(file, []byte(answer), 0o600); err != nil {
		return nil, "", err
	}
	address, admin, err := addresses()
	if err != nil {
		return nil, "", err
	}
	p, err := start(w.dir, "reference", admin, nil, self, "reference", name, address, admin, file)
	if err == nil {
		w.programs = append(w.programs, p)
	}
	return p, address, err
}

func addresses() (address, admin string, err error) {
	address, err1 := testenv.FreeAddress()
	admin, err2 := testenv.FreeAddress()
	return address, admin, errors.Join(err1, err2)
}

func answer(address string, l load) (string, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+address+l.path, strings.NewReader(l.body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+l.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", l.path, resp.Status, body)
	}
	return string(body), err
}

func (w *world) write(name string, n int, value func(i int) string) (string, error) {
	file := filepath.Join(w.dir, name)
	var b strings.Builder
	for i := range n {
		b.WriteString(value(i))
		b.WriteByte('\n')
	}
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}
