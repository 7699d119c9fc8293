// Package process provides what every process of shares runs on: the logger, the memory limit, an
// HTTP server with limits on slow clients, and the graceful shutdown. Only internal/app calls it.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// HTTP serves one handler until its context ends.
type HTTP struct {
	Handler  http.Handler
	Listener net.Listener
	Memory   int64         // bytes for all connections together
	Timeout  time.Duration // of one request, counted from the end of its body
	Drain    time.Duration // between the end of the context and the closing of the listener
	Grace    time.Duration // for requests that run when the listener closes

	draining atomic.Bool
}

// Limits on slow clients and long headers. The edge limits uploads.
const (
	readHeaderTimeout = 5 * time.Second
	// ReadTimeout is for a header and a small body.
	ReadTimeout    = 10 * time.Second
	sendTime       = 5 * time.Second // to send an answer, after the request's Timeout
	idleTimeout    = 75 * time.Second
	maxHeaderBytes = 8 << 10

	// sendBuffer is how many bytes of an unread answer the kernel holds. It allows 1.3 MB/s at 50
	// ms.
	sendBuffer = 64 << 10
)

// Listen opens a TCP listener for HTTP whose connections have small send buffers.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{Control: bound}
	return config.Listen(ctx, "tcp", address)
}

// Run serves until ctx ends, then drains and finishes running requests. It returns an error if
// serving fails or a request still runs after Grace.
func (h *HTTP) Run(ctx context.Context) error {
	all := &conns{Listener: h.Listener, budget: h.Memory}
	srv := &http.Server{
		Handler:           http.HandlerFunc(h.serve),
		ConnState:         all.state,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       ReadTimeout,
		WriteTimeout:      ReadTimeout + h.Timeout + sendTime,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// The server's log lines may quote requests.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(all) }()

	select {
	case err := <-failed:
		return fmt.Errorf("http server: %w", err)
	case <-ctx.Done():
	}
	// From here on every answer closes its connection, so that keep-alive clients move to another
	// replica between requests, not within one.
	h.draining.Store(true)
	time.Sleep(h.Drain)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.Grace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("http server: requests still ran after the grace period: %w", err), srv.Close())
	}
	return nil
}

func (h *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	if h.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	h.Handler.ServeHTTP(w, r)
}
