package process

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func request(c net.Conn) error {
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

func waitClosed(t *testing.T, what string, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("%s: still open", what)
	}
}

// At the limit, the connection that has gone longest without completing a request is closed, and
// the new one is served.
func TestConnectionLimitEvictsTheLongestWithoutRequest(t *testing.T) {
	t.Parallel()
	w := start(t, &HTTP{Memory: 8 * connCost}, func(http.ResponseWriter, *http.Request) {})
	active := w.dial(t, "")
	if err := request(active); err != nil {
		t.Fatal(err)
	}
	var idle []net.Conn
	for range 50 {
		idle = append(idle, w.dial(t, ""))
		if err := request(active); err != nil {
			t.Fatalf("connection that completes requests: %v", err)
		}
	}
	for range 8 {
		if err := request(w.dial(t, "")); err != nil {
			t.Errorf("new connection at the limit: %v", err)
		}
	}
	for _, c := range idle {
		waitClosed(t, "idle", c)
	}
}

// The memory of an unfinished request counts, whichever part of the server holds it.
func TestConnectionLimitCountsUnfinishedRequests(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]string{
		"one long header line":    "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10),
		"many header lines":       "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("x:\r\n", 500),
		"body":                    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\n" + strings.Repeat("x", 8000),
		"answer that is not read": "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, &HTTP{Memory: 10 * connCost, Timeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/big" {
					_, _ = w.Write(make([]byte, 4<<20))
				}
			})
			var slow []net.Conn
			for range 9 { // they fit while idle
				slow = append(slow, w.dial(t, send))
			}
			waitClosed(t, "oldest", slow[0])
			if err := request(w.dial(t, "")); err != nil {
				t.Errorf("another user: %v", err)
			}
		})
	}
}
