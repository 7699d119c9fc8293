package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is an HTTP that runs until its stop is called.
type world struct {
	url  string
	addr string
	stop context.CancelFunc
	done chan error
	log  lockedBuffer
}

func start(t *testing.T, drain, grace time.Duration, handler http.HandlerFunc) *world {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{addr: l.Addr().String(), url: "http://" + l.Addr().String(), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	t.Cleanup(cancel)
	h := &HTTP{Handler: handler, Listener: l, Drain: drain, Grace: grace,
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	go func() { w.done <- h.Run(ctx) }()
	return w
}

// ended waits for Run's end.
func (w *world) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-w.done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("still running after a minute")
		return nil
	}
}

// closed reports whether nobody listens any more.
func (w *world) closed() bool {
	c, err := net.Dial("tcp", w.addr)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

type answer struct {
	status int
	body   string
	closes bool
	err    error
}

func get(c *http.Client, url string) answer {
	resp, err := c.Get(url)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Close, err}
}

// newClient has connections of its own, so that no test waits for another's.
func newClient(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func TestRunningRequestFinishes(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	w := start(t, 0, time.Minute, func(rw http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		if err := r.Context().Err(); err != nil {
			t.Errorf("the request was cut: %v", err)
		}
		_, _ = io.WriteString(rw, "done")
	})
	got := make(chan answer, 1)
	c := newClient(t)
	go func() { got <- get(c, w.url) }()
	<-entered
	w.stop()
	eventually(t, "the listener closes", w.closed)
	select {
	case err := <-w.done:
		t.Fatalf("ended with a request running: %v", err)
	default:
	}
	close(leave)
	if a := <-got; a.status != 200 || a.body != "done" || a.err != nil {
		t.Errorf("%+v", a)
	}
	if err := w.ended(t); err != nil {
		t.Error(err)
	}
}

// While it drains, a server answers everybody, and has everybody come anew elsewhere.
func TestDraining(t *testing.T) {
	t.Parallel()
	const drain = 10 * time.Second
	w := start(t, drain, time.Minute, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
	c := newClient(t)
	if a := get(c, w.url); a.status != 200 || a.closes {
		t.Fatalf("before: %+v", a)
	}
	stopped := time.Now()
	w.stop()
	eventually(t, "answers end their connection", func() bool {
		a := get(c, w.url)
		if a.err != nil && time.Since(stopped) < drain {
			t.Fatalf("refused while draining: %v", a.err)
		}
		return a.closes
	})
	if a := get(newClient(t), w.url); time.Since(stopped) < drain && (a.status != 200 || !a.closes) {
		t.Errorf("a new client while draining: %+v", a)
	}
	if err := w.ended(t); err != nil {
		t.Error(err)
	}
	if took := time.Since(stopped); took < drain {
		t.Errorf("drained for %v, want %v", took, drain)
	}
	if !w.closed() {
		t.Error("still listening")
	}
}

// What runs longer than it may is cut, and said.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	w := start(t, 0, 50*time.Millisecond, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	got := make(chan answer, 1)
	c := newClient(t)
	go func() { got <- get(c, w.url) }()
	<-entered
	w.stop()
	if err := w.ended(t); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a deadline", err)
	}
	if a := <-got; a.err == nil {
		t.Errorf("answered: %+v", a)
	}
}

func TestServingFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	h := &HTTP{Handler: http.NotFoundHandler(), Listener: l, Log: slog.New(slog.DiscardHandler)}
	if err := h.Run(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want %v", err, net.ErrClosed)
	}
}

// What a stranger sends beside a request stays out of the log, and headers are bounded.
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	w := start(t, 0, time.Second, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic(secret) // the edge recovers; this is for what it does not see
		}
	})
	for name, tt := range map[string]struct{ send, want string }{
		"a header too large": {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "HTTP/1.1 431"},
		"a bad header":       {"GET / HTTP/1.1\r\nHost: a\r\n" + secret + "\r\n\r\n", "HTTP/1.1 400"},
		"no HTTP":            {"\x16\x03\x01" + secret + "\r\n\r\n", "HTTP/1.1 400"},
		"a handler's panic":  {"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		"two lengths":        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400"},
	} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, tt.send)
		line, _ := bufio.NewReader(c).ReadString('\n')
		if !strings.HasPrefix(line, tt.want) || tt.want == "" && line != "" {
			t.Errorf("%s: %q, want %q", name, line, tt.want)
		}
		_ = c.Close()
	}
	w.stop()
	_ = w.ended(t)
	if log := w.log.String(); strings.Contains(log, secret) || !strings.Contains(log, "a connection failed") {
		t.Errorf("log:\n%s", log)
	}
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
