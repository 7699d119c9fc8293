package wechat_test

import (
	"bytes"
	"database/sql"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"shares/internal/testenv"
	"shares/model/migrations"
	"shares/simulator"
	"shares/test/testprocess"
)

const (
	appID         = "wx0123456789abcdef"
	appSecret     = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	sessionSecret = "wechat-suite-session-secret-0123456789"
	public        = "https://shares.example.test"
)

const (
	code2session  = "/sns/jscode2session"
	stableToken   = "/cgi-bin/stable_token"
	unlimitedCode = "/wxa/getwxacodeunlimit"
	phoneNumber   = "/wxa/business/getuserphonenumber"
)

// secrets must not appear in the output of a program of this suite or in an error.
var secrets testprocess.Secrets

func TestMain(m *testing.M) { os.Exit(secrets.Verify(testenv.Main(m))) }

// world is a MariaDB, a Redis, a bucket and a WeChat for the programs of one test.
type world struct {
	wechat *simulator.Simulator
	db     *sql.DB
	bucket string // the folder of the pictures
	env    map[string]string

	client    *http.Client
	transport *http.Transport

	mu   sync.Mutex
	held map[string]chan struct{} // by WeChat's path: its calls wait until the channel is closed
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		wechat: simulator.New(simulator.Options{AppID: appID, Secret: appSecret}),
		bucket: t.TempDir(),
		held:   map[string]chan struct{}{},
	}
	server := httptest.NewServer(http.HandlerFunc(w.serveWechat))
	t.Cleanup(server.Close)
	dsn := testenv.MariaDB(t).Database(t)
	db, err := sql.Open("mysql", dsn+"?parseTime=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := migrations.Migrate(t.Context(), db, migrations.MySQL); err != nil {
		t.Fatal(err)
	}
	w.db = db
	w.env = map[string]string{
		"SHARES_MODE":       "pro",
		"SHARES_PUBLIC_URL": public,
		"SESSION_SECRET":    sessionSecret,
		"MYSQL_DSN":         dsn,
		"REDIS_ADDR":        testenv.Redis(t).Addr(),
		"QRCODE_BUCKET":     "file://" + w.bucket,
		"WECHAT_BASE_URL":   server.URL,
		"WECHAT_APPID":      appID,
		"WECHAT_SECRET":     appSecret,
	}
	secrets.Hide("app secret", appSecret)
	secrets.Hide("session secret", sessionSecret)
	secrets.Hide("DSN", dsn)
	w.transport = &http.Transport{MaxIdleConnsPerHost: 100}
	w.client = &http.Client{
		Transport: secrets.Transport(w.transport),
		Timeout:   time.Minute,
	}
	return w
}

// serveWechat is the simulated WeChat. It records the secrets in its answers.
func (w *world) serveWechat(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	held := w.held[r.URL.Path]
	w.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	copied := &tee{ResponseWriter: rw}
	defer func() { // deferred, because some faults panic
		for kind, shape := range told {
			for _, m := range shape.FindAllSubmatch(copied.body.Bytes(), -1) {
				secrets.Hide(kind, string(m[1]))
			}
		}
	}()
	w.wechat.ServeHTTP(copied, r)
}

// hold makes calls of one of WeChat's paths wait until release is called. Call release once.
func (w *world) hold(path string) (release func()) {
	held := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[path] = held
	return func() { close(held) }
}

// told matches the secrets in WeChat's answers, also in truncated ones.
var told = map[string]*regexp.Regexp{
	"session key":  regexp.MustCompile(`"session_key":"([^"]{8,})`),
	"openid":       regexp.MustCompile(`"openid":"([^"]{8,})`),
	"access token": regexp.MustCompile(`"access_token":"([^"]{8,})`),
	"phone":        regexp.MustCompile(`"purePhoneNumber":"([^"]{8,})`),
}

// tee keeps the first 4 KiB of an answer.
type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.body.Write(b[:min(len(b), max(0, most-t.body.Len()))])
	return t.ResponseWriter.Write(b)
}

func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// replica is one process that serves the HTTP API.
type replica struct {
	*world
	base string
}

func (w *world) run(t *testing.T, command string, env map[string]string) *testprocess.Process {
	t.Helper()
	all := maps.Clone(w.env)
	maps.Copy(all, env)
	p := testprocess.Run(t, testprocess.Options{Args: []string{command}, Env: all, Secrets: &secrets})
	t.Cleanup(w.transport.CloseIdleConnections) // runs first, because the process waits for connections
	return p
}

func (w *world) serve(t *testing.T, env map[string]string) *replica {
	t.Helper()
	return &replica{w, w.run(t, "serve", env).URL()}
}

// A topology starts the two processes that share the world.
type topology struct {
	name  string
	start func(t *testing.T, w *world, env map[string]string) []*replica
}

var topologies = []topology{
	{"serve twice", func(t *testing.T, w *world, env map[string]string) []*replica {
		t.Helper()
		return []*replica{w.serve(t, env), w.serve(t, env)}
	}},
	{"api before two rpc", func(t *testing.T, w *world, env map[string]string) []*replica {
		t.Helper()
		first, second := w.users(t, env), w.users(t, env)
		all := maps.Clone(env)
		all["WEIXIN_RPC_TARGET"] = "direct:///" + first + "," + second
		return []*replica{{w, w.run(t, "api", all).URL()}}
	}},
}

// users starts `shares rpc` and returns its address.
func (w *world) users(t *testing.T, env map[string]string) string {
	t.Helper()
	address, err := testenv.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(env)
	all["SHARES_RPC_LISTEN"] = address
	return w.run(t, "rpc", all).Address()
}

// pictures returns the paths of all files in the bucket, including incomplete ones.
func (w *world) pictures(t testing.TB) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(w.bucket, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, w.bucket+string(filepath.Separator)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (w *world) rows(t testing.TB, openid string) (n int) {
	t.Helper()
	if err := w.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM wx_userinfo WHERE openid = ?", openid).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// waitUntil fails the test unless holds returns true within a minute.
func waitUntil(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}
