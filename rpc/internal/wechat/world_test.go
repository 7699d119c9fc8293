package wechat

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/simulator"
)

const (
	testAppID  = simulator.DefaultAppID
	testSecret = simulator.DefaultSecret
	testPhone  = "13800138000"
)

func TestMain(m *testing.M) {
	if os.Getenv(proxyChildEnv) != "" {
		proxyChild()
		return
	}
	os.Exit(m.Run())
}

// world is a simulated WeChat that notes every secret that passes, and a log that must have none of them when the test ends.
type world struct {
	t      *testing.T
	sim    *simulator.Simulator
	server *httptest.Server
	log    lockedBuffer

	mu      sync.Mutex
	secrets map[string]bool
	errors  []error
}

func newWorld(t *testing.T, opts simulator.Options) *world {
	t.Helper()
	w := &world{t: t, sim: simulator.New(opts), secrets: map[string]bool{testSecret: true, testPhone: true}}
	w.server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.server.Close)
	t.Cleanup(w.checkSecrets)
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && r.ContentLength < 0 {
		w.t.Error("a request came without Content-Length")
	}
	q := r.URL.Query()
	w.note(q.Get("secret"), q.Get("js_code"), q.Get("access_token"))
	w.sim.ServeHTTP(rw, r)
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

// failed notes an error that a client returned, and returns its kind; it is the way for all of them.
func (w *world) failed(err error) Kind {
	w.t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		w.t.Errorf("error is %v, want an *Error", err)
		return Unknown
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors = append(w.errors, err)
	return e.Kind
}

func (w *world) checkSecrets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := []string{w.log.String()}
	for _, err := range w.errors {
		texts = append(texts, err.Error())
	}
	for secret := range w.secrets {
		for _, text := range texts {
			if strings.Contains(text, secret) {
				w.t.Errorf("a secret is in a log line or an error: %s", text)
			}
		}
	}
}

// client returns a client of the simulator; change may set further options.
func (w *world) client(change func(*Options)) *Client {
	w.t.Helper()
	o := Options{
		AppID: testAppID, Secret: testSecret, BaseURL: w.server.URL,
		Timeout: time.Minute, RedisTimeout: 10 * time.Second, // the machine may be busy
		Logger: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	return newClient(w.t, o)
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// calls returns how often an endpoint of WeChat's was called.
func (w *world) calls(path string) int { return w.sim.Calls()[path] }

// alice logs in, so that WeChat takes texts in her name, and returns her openid.
func (w *world) alice(c *Client) string {
	w.t.Helper()
	id, err := c.Code2Session(context.Background(), w.sim.Code("alice"), "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.note(id.OpenID)
	return id.OpenID
}

// redisClient returns a client as the service makes it.
func redisClient(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// lockedBuffer is a log that may be read while it is written.
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

// roundTripper is a transport of one function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answerWith returns a transport that answers stable_token with a good token and everything else as told.
func answerWith(status int, contentType string, body []byte) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		status, contentType, body := status, contentType, body
		if strings.HasSuffix(r.URL.Path, "/"+tokenEndpoint) {
			status, contentType, body = 200, "application/json", []byte(`{"access_token":"good-token","expires_in":7200}`)
		}
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
		}, nil
	})
}

// clock is a time that tests move.
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

// eventually waits for a condition that must come true within a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
