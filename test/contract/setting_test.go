package contract_test

import (
	"cmp"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shares/internal/testenv"
	"shares/simulator"
	"shares/test/testprocess"
)

// lifetime is the default of SESSION_LIFETIME, in seconds.
const lifetime = 2 * 60 * 60

// sessionSecret signs sessions, except in installations that generate a secret.
const sessionSecret = "contract-suite-session-secret-0123456789"

// setting is one running installation.
type setting struct {
	base      string // URL of the edge
	public    string // SHARES_PUBLIC_URL; see address
	control   string // URL of the simulator's control paths
	edgePort  string // URL of the internal port of serve or api
	usersPort string // URL of the internal port of serve or rpc
	envelope  bool
	secret    string // signs sessions

	edge, users *testprocess.Process // api and rpc, or twice the same process
	env         map[string]string    // environment of the processes
	client      *http.Client
}

// installation is a way to run the service. install adds env to its settings.
type installation struct {
	name    string
	install func(t *testing.T, env map[string]string) *setting
}

var installations = []installation{
	{"embedded", embedded},
	{"serve", serve},
	{"apart", apart},
}

// embedded runs `shares serve` with default settings.
func embedded(t *testing.T, env map[string]string) *setting {
	t.Helper()
	return embeddedIn(t, t.TempDir(), env)
}

// embeddedIn is like embedded, in a directory that may contain data.
func embeddedIn(t *testing.T, dir string, env map[string]string) *setting {
	t.Helper()
	p := testprocess.Run(t, testprocess.Options{Args: []string{"serve"}, Env: env, Dir: dir, Secrets: &unseen})
	s := newSetting(t, p, p, env)
	if s.secret == "" {
		secret, err := os.ReadFile(filepath.Join(dir, "data", "session.secret"))
		if err != nil {
			t.Fatal(err)
		}
		s.secret = string(secret)
	}
	return s
}

// serve runs `shares serve` with MariaDB, Redis and a separate simulator, behind https. In Redis it
// has only the documented rights.
func serve(t *testing.T, env map[string]string) *setting {
	t.Helper()
	redis := testenv.Redis(t)
	all := realParts(t, testenv.MariaDB(t), redis)
	all["REDIS_USERNAME"], all["REDIS_PASSWORD"] = "app", "redis-password-of-the-suite"
	redis.Restrict(t, all["REDIS_USERNAME"], all["REDIS_PASSWORD"], "shares:"+simulator.DefaultAppID)
	all.migrate(t)
	return serveOn(t, all, env)
}

func serveOn(t *testing.T, parts pro, env map[string]string) *setting {
	t.Helper()
	all := maps.Clone(parts)
	all["SHARES_PUBLIC_URL"] = "https://shares.example.test"
	maps.Copy(all, env)
	p := testprocess.Run(t, testprocess.Options{Args: []string{"serve"}, Env: all, Secrets: &unseen})
	return newSetting(t, p, p, all)
}

// apart runs `shares api` and `shares rpc` with MariaDB, Redis and a separate simulator. Redis is
// behind a proxy that refuses what proxies of clouds refuse.
func apart(t *testing.T, env map[string]string) *setting {
	t.Helper()
	redis := testenv.Redis(t)
	all := realParts(t, testenv.MariaDB(t), redis)
	all["REDIS_ADDR"], all["REDIS_TYPE"] = testenv.ManagedRedis(t, redis), "proxy"
	all.migrate(t)
	return apartOn(t, all, env)
}

func apartOn(t *testing.T, parts pro, env map[string]string) *setting {
	t.Helper()
	all := maps.Clone(parts)
	all["SHARES_PUBLIC_URL"] = "http://shares.example.test/behind/a/path"
	maps.Copy(all, env)
	// Both processes need to know rpc's port before it starts.
	address, err := testenv.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	all["SHARES_RPC_LISTEN"], all["WEIXIN_RPC_TARGET"] = address, "dns:///"+address
	forUsers := maps.Clone(all)
	if all["SHARES_INTERNAL_LISTEN"] != "" {
		if forUsers["SHARES_INTERNAL_LISTEN"], err = testenv.FreeAddress(); err != nil {
			t.Fatal(err)
		}
	}
	users := testprocess.Run(t, testprocess.Options{Args: []string{"rpc"}, Env: forUsers, Secrets: &unseen})
	edge := testprocess.Run(t, testprocess.Options{Args: []string{"api"}, Env: all, Secrets: &unseen})
	s := newSetting(t, edge, users, all)
	s.usersPort = "http://" + forUsers["SHARES_INTERNAL_LISTEN"]
	return s
}

// pro is the environment of an installation without embedded parts.
type pro map[string]string

// realParts returns settings for an empty database, a Redis, a directory for pictures, and a
// separate simulator.
func realParts(t *testing.T, db *testenv.MariaDBServer, redis *testenv.RedisServer) pro {
	t.Helper()
	wechat := testprocess.Run(t, testprocess.Options{Args: []string{"simulator", "--listen", "127.0.0.1:0"}})
	return pro{
		"SHARES_MODE":     "pro",
		"MYSQL_DSN":       db.Database(t),
		"REDIS_ADDR":      redis.Addr(),
		"SESSION_SECRET":  sessionSecret,
		"QRCODE_BUCKET":   "file://" + t.TempDir(),
		"WECHAT_BASE_URL": wechat.URL(),
		"WECHAT_APPID":    simulator.DefaultAppID,
		"WECHAT_SECRET":   simulator.DefaultSecret,
	}
}

func (env pro) migrate(t *testing.T) {
	t.Helper()
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"migrate"}, Env: env})
	if err != nil || code != 0 {
		t.Fatalf("shares migrate: code %d, %v\n%s", code, err, printed)
	}
}

func newSetting(t *testing.T, edge, users *testprocess.Process, env map[string]string) *setting {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections) // before the program ends, because it waits for connections
	s := &setting{
		base:      edge.URL(),
		control:   cmp.Or(env["WECHAT_BASE_URL"], edge.URL()),
		public:    env["SHARES_PUBLIC_URL"],
		edgePort:  "http://" + env["SHARES_INTERNAL_LISTEN"],
		usersPort: "http://" + env["SHARES_INTERNAL_LISTEN"],
		envelope:  env["SHARES_ENVELOPE"] == "true",
		secret:    env["SESSION_SECRET"],
		edge:      edge,
		users:     users,
		env:       env,
		client: &http.Client{
			Transport:     unseen.Transport(transport),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.hide(strings.Split(env["SESSION_SECRET"], ",")...)
	s.hide(env["WECHAT_SECRET"], env["MYSQL_DSN"], env["REDIS_PASSWORD"])
	return s
}

// embedded reports whether everything is embedded (dev mode).
func (s *setting) embedded() bool { return s.control == s.base }

// address is the service's URL for clients, which is also the prefix of picture URLs.
func (s *setting) address() string { return cmp.Or(s.public, s.base) }

// hide records secrets that must not be logged.
func (s *setting) hide(secrets ...string) {
	unseen.Hide("secret, code, session, openid or phone number", secrets...)
}
