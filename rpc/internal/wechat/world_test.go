package wechat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/internal/reason"
	"shares/simulator"
)

const (
	testAppID    = simulator.DefaultAppID
	testTokenKey = "test:token"
	testSecret   = simulator.DefaultSecret
	testPhone    = "13800138000"
	stablePath   = "/cgi-bin/stable_token"
)

// TestMain sets the proxy, which net/http reads once. Loopback addresses are never proxied.
func TestMain(m *testing.M) {
	os.Setenv("HTTPS_PROXY", "http://user:"+proxyPassword+"@"+proxy.Listener.Addr().String())
	os.Setenv("NO_PROXY", "")
	os.Setenv("no_proxy", "")
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// world is a simulated WeChat that records every secret, and a log. When the test ends, it checks
// that no secret is in the log or in an error.
type world struct {
	t      *testing.T
	sim    *simulator.Simulator
	server *httptest.Server
	log    lockedBuffer

	mu      sync.Mutex
	secrets map[string]bool
	errors  []string
}

func newWorld(t *testing.T, opts simulator.Options) *world {
	t.Helper()
	w := &world{
		t: t, sim: simulator.New(opts), secrets: map[string]bool{testSecret: true, testPhone: true},
	}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.note(q.Get("secret"), q.Get("js_code"), q.Get("access_token"))
		w.sim.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.server.Close)
	t.Cleanup(func() {
		for secret := range w.secrets {
			for _, text := range append(w.errors, w.log.String()) {
				if strings.Contains(text, secret) {
					t.Errorf("a secret is in a log line or an error: %s", text)
				}
			}
		}
	})
	return w
}

func (w *world) note(secrets ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range secrets {
		if s != "" {
			w.secrets[s] = true
		}
	}
}

// failed records a client's error and returns its reason and field.
func (w *world) failed(err error) string {
	w.t.Helper()
	if err == nil {
		return "ok"
	}
	w.mu.Lock()
	w.errors = append(w.errors, err.Error())
	w.mu.Unlock()
	return outcome(err)
}

// outcome describes an error by its reason and field.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		return "an error of another type: " + err.Error()
	}
	why, metadata := reason.Of(err)
	return strings.TrimSpace(string(why) + " " + metadata["field"])
}

func (w *world) client(change func(*Options)) *Client {
	w.t.Helper()
	o := Options{
		BaseURL: w.server.URL,
		Logger:  slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	return newClient(w.t, o)
}

// newClient returns a client with defaults for missing options and a timeout for a busy machine.
func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	o.AppID, o.Secret, o.TokenKey = testAppID, testSecret, testTokenKey
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Redis == nil {
		o.Redis = noRedis
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Transport == nil {
		transport := newTransport()
		transport.TLSHandshakeTimeout = o.Timeout
		t.Cleanup(transport.CloseIdleConnections)
		o.Transport = transport
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var noRedis = redis.NewClient(&redis.Options{
	MaxRetries: -1, DialerRetries: 1,
	Dialer: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("down") },
})

// redisClient returns a client that soon gives up a Redis that is paused.
func redisClient(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, DialerRetries: 1,
		ContextTimeoutEnabled: true, ReadTimeout: 200 * time.Millisecond,
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) calls(path string) int { return w.sim.Calls()[path] }

// alice logs in, so that WeChat checks her texts, and returns her openid.
func (w *world) alice(c *Client) string {
	w.t.Helper()
	openid, _, err := c.Code2Session(context.Background(), w.sim.Code("alice"), "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.note(openid)
	return openid
}

// operations are the calls of a Client. Each uses a fresh code and succeeds unless a fault is set.
var operations = []struct {
	name, path string
	do         func(context.Context, *world, *Client) error
}{
	{"login", "/sns/jscode2session", func(ctx context.Context, w *world, c *Client) error {
		_, _, err := c.Code2Session(ctx, w.sim.Code("alice"), "")
		return err
	}},
	{"code", "/wxa/getwxacodeunlimit", func(ctx context.Context, _ *world, c *Client) error {
		_, err := c.UnlimitedCode(ctx, CodeParams{Scene: "from=alice", Width: 280})
		return err
	}},
	{"phone", "/wxa/business/getuserphonenumber", func(ctx context.Context, w *world, c *Client) error {
		code := w.sim.PhoneCode(testPhone)
		w.note(code)
		_, err := c.PhoneNumber(ctx, code)
		return err
	}},
	{"text", "/wxa/msg_sec_check", func(ctx context.Context, w *world, c *Client) error {
		_, err := c.IsRisky(ctx, w.sim.OpenID("alice"), "小明")
		return err
	}},
	{"token", stablePath, func(ctx context.Context, _ *world, c *Client) error {
		return c.CheckToken(ctx)
	}},
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// answerWith is a transport that answers every endpoint with status and body, except that
// stable_token gets a good token unless it is the endpoint.
type answerWith struct {
	endpoint    string
	status      int
	contentType string
	body        string
}

func (a answerWith) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/"+tokenEndpoint) && a.endpoint != tokenEndpoint {
		a = answerWith{"", 200, "application/json", `{"access_token":"good-token","expires_in":7200}`}
	}
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Content-Type": {a.contentType}},
		Body: io.NopCloser(strings.NewReader(a.body)), Request: r,
	}, nil
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2025, 11, 20, 8, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
