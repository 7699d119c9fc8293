package process

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts the calls of Accept.
type counted struct {
	net.Listener
	accepts atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	l.accepts.Add(1)
	return l.Listener.Accept()
}

// startBounded serves with a budget for connections of the given number of bytes.
func startBounded(t *testing.T, memory int64, handler http.HandlerFunc) *counted {
	t.Helper()
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := &counted{Listener: listener}
	server := &HTTP{
		Handler: handler, Listener: all, Memory: memory, Timeout: time.Minute,
		Grace: time.Minute, Log: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return all
}

// idle opens a connection and waits until the server has it.
func (l *counted) idle(t *testing.T) net.Conn {
	t.Helper()
	before := l.accepts.Load()
	c := dial(t, l, "")
	eventually(t, "the connection is accepted", func() bool { return l.accepts.Load() > before })
	return c
}

func dial(t *testing.T, l net.Listener, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

// request sends a request on an open connection and reads its answer.
func request(t *testing.T, c net.Conn) error {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// waitClosed waits until the server has closed c.
func waitClosed(t *testing.T, what string, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.Copy(io.Discard, c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatalf("%s: still open after a minute", what)
	}
}

// At the limit, the connection that has gone longest without completing a request is closed, and
// the new one is served.
func TestConnectionLimitEvictsTheLongestWithoutRequest(t *testing.T) {
	t.Parallel()
	server := startBounded(t, 8*connCost, func(http.ResponseWriter, *http.Request) {})
	active := server.idle(t)
	if err := request(t, active); err != nil {
		t.Fatal(err)
	}
	first := server.idle(t)
	for range 50 {
		idle := server.idle(t)
		if err := request(t, active); err != nil {
			t.Fatalf("connection that completes requests: %v", err)
		}
		defer waitClosed(t, "idle", idle)
	}
	waitClosed(t, "first", first)
	if err := request(t, dial(t, server, "")); err != nil {
		t.Errorf("new connection at the limit: %v", err)
	}
	for range 8 { // for the last of the idle ones
		if err := request(t, dial(t, server, "")); err != nil {
			t.Error(err)
		}
	}
}

// Unfinished requests are charged for what they make the server hold, whatever holds it.
func TestConnectionLimitCountsUnfinishedRequests(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]string{
		"one long header line":    "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10),
		"many header lines":       "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("x:\r\n", 500),
		"body":                    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\n" + strings.Repeat("x", 8000),
		"answer that is not read": "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startBounded(t, 10*connCost, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/big" {
					_, _ = w.Write(make([]byte, 4<<20))
				}
			})
			var slow []net.Conn
			for range 9 { // as idle connections they fit
				slow = append(slow, dial(t, server, start))
			}
			waitClosed(t, "oldest", slow[0])
			if err := request(t, dial(t, server, "")); err != nil {
				t.Errorf("user beside them: %v", err)
			}
		})
	}
}
