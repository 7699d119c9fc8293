package process

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// world is an HTTP that serves until stop is called or the test ends.
type world struct {
	net.Listener
	accepts atomic.Int64
	stop    context.CancelFunc
	done    chan error
}

func (w *world) Accept() (net.Conn, error) {
	w.accepts.Add(1)
	return w.Listener.Accept()
}

func (w *world) url() string { return "http://" + w.Addr().String() }

func start(t *testing.T, h *HTTP, handler http.HandlerFunc) *world {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	w := &world{Listener: l, stop: stop, done: make(chan error, 1)}
	h.Handler, h.Listener, h.Memory = handler, w, cmp.Or(h.Memory, 16<<20)
	go func() { w.done <- h.Run(ctx) }()
	return w
}

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

func (w *world) closed() bool {
	c, err := net.Dial("tcp", w.Addr().String())
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

// dial opens a connection, sends a text and waits until the server has accepted the connection.
func (w *world) dial(t *testing.T, send string) net.Conn {
	t.Helper()
	before := w.accepts.Load()
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is accepted", func() bool { return w.accepts.Load() > before })
	return c
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
	return answer{string(body), resp.Close, err}
}

// newClient returns a client with its own connections, so that no test waits for another's.
func newClient(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// A running request can finish within Grace and is cut off after it.
func TestShutdownWithARunningRequest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		grace time.Duration
		cut   bool
	}{"finishes": {time.Minute, false}, "is cut": {50 * time.Millisecond, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered, leave := make(chan struct{}), make(chan struct{})
			w := start(t, &HTTP{Grace: tt.grace}, func(rw http.ResponseWriter, r *http.Request) {
				close(entered)
				select {
				case <-leave:
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(rw, "done")
			})
			got := make(chan answer, 1)
			c := newClient(t)
			go func() { got <- get(c, w.url()) }()
			<-entered
			w.stop()
			eventually(t, "the listener closes", w.closed)
			if !tt.cut {
				select {
				case err := <-w.done:
					t.Fatalf("ended with a request running: %v", err)
				default:
				}
				close(leave)
			}
			if err := w.ended(t); errors.Is(err, context.DeadlineExceeded) != tt.cut || err != nil && !tt.cut {
				t.Errorf("got %v, want a deadline: %v", err, tt.cut)
			}
			if a := <-got; (a.err != nil) != tt.cut || !tt.cut && a.body != "done" {
				t.Errorf("the request: %+v, want it cut: %v", a, tt.cut)
			}
		})
	}
}

// While it drains, a server answers every request and closes the connection after it.
func TestDraining(t *testing.T) {
	t.Parallel()
	const drain = 10 * time.Second
	w := start(t, &HTTP{Drain: drain, Grace: time.Minute},
		func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
	c := newClient(t)
	if a := get(c, w.url()); a.body != "ok" || a.closes {
		t.Fatalf("before: %+v", a)
	}
	stopped := time.Now()
	w.stop()
	eventually(t, "answers end their connection", func() bool {
		a := get(c, w.url())
		if a.err != nil && time.Since(stopped) < drain {
			t.Fatalf("refused while draining: %v", a.err)
		}
		return a.closes
	})
	if a := get(newClient(t), w.url()); time.Since(stopped) < drain && (a.body != "ok" || !a.closes) {
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

// A client that sends its request byte by byte is cut off, even if it never pauses.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	w := start(t, &HTTP{Grace: time.Second}, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	for _, tt := range []struct {
		name, start string
		limit       time.Duration
	}{
		{"header", "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", readHeaderTimeout},
		{"body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", ReadTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			c := w.dial(t, tt.start)
			go func() {
				for {
					if _, err := io.WriteString(c, "x"); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}()
			waitClosed(t, tt.name, c)
			if took := time.Since(start); took < tt.limit-time.Second {
				t.Errorf("cut off after %s, too early for an honest client", took)
			}
		})
	}
}
