package process

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// Whoever sends a request byte by byte is cut off, however steadily they send.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &HTTP{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		}),
		Listener: listener,
		Grace:    time.Second,
		Log:      slog.New(slog.DiscardHandler),
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		name, start string
		limit       time.Duration
	}{
		{"header", "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", readHeaderTimeout},
		{"body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", ReadTimeout},
		{"chunked body", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff0\r\n", ReadTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			start := time.Now()
			if _, err := io.WriteString(conn, tt.start); err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}()
			if err := conn.SetReadDeadline(start.Add(tt.limit + time.Minute)); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			for err == nil { // an answer, perhaps, and then the end
				_, err = r.ReadByte()
			}
			if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
				t.Errorf("not cut off after %s", time.Since(start))
			}
			if took := time.Since(start); took < tt.limit-time.Second {
				t.Errorf("cut off after %s, too early for an honest client", took)
			}
		})
	}
}
