// Package process is how a process of shares starts, serves and ends: its
// logger, its HTTP server with limits on slow clients, and the order of
// winding down. Only main calls it.
package process

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// HTTP serves one handler until its context ends.
type HTTP struct {
	Handler  http.Handler
	Listener net.Listener
	Drain    time.Duration // from the end of the context to the closing of the listener; requests are answered all the while
	Grace    time.Duration // for what runs when the listener closes
	Log      *slog.Logger

	draining atomic.Bool
}

// Limits on slow or talkative clients. Bodies have theirs in the decoder.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 20 * time.Second
	idleTimeout       = 75 * time.Second
	maxHeaderBytes    = 16 << 10
)

// Run serves until ctx ends, then drains and finishes what runs. It returns an
// error when serving fails or something was still running after Grace.
func (h *HTTP) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           http.HandlerFunc(h.serve),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(quiet{h.Log}, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(h.Listener) }()

	select {
	case err := <-failed:
		return fmt.Errorf("http server: %w", err)
	case <-ctx.Done():
	}
	// From here on every answer ends its connection: those who keep one alive
	// move on to another replica now, and not in the middle of a request.
	h.draining.Store(true)
	time.Sleep(h.Drain)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.Grace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("http server: requests were still running at the end: %w", err), srv.Close())
	}
	return nil
}

func (h *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	if h.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	h.Handler.ServeHTTP(w, r)
}

// quiet takes net/http's lines about broken connections, whose text may quote
// what a client sent.
type quiet struct{ log *slog.Logger }

// Write implements io.Writer.
func (q quiet) Write(b []byte) (int, error) {
	q.log.Debug("http server: a connection failed")
	return len(b), nil
}
