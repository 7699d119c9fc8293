//go:build faults

package faults

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"shares/test/testprocess"
	"shares/test/traffic"
)

// server is a process of shares that keeps its address across restarts.
type server struct {
	*traffic.Target
	*testprocess.Process
	name  string
	admin *traffic.Target           // not of the simulator
	gone  atomic.Pointer[time.Time] // when clients have noticed the last Kill
}

func (w *world) run(t *testing.T, name, address, admin string, o testprocess.Options) *server {
	client := &http.Client{
		Timeout:   3 * deadly,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second},
	}
	return &server{
		Target: &traffic.Target{URL: "http://" + address, Client: client}, Process: testprocess.Run(t, o), name: name,
		admin: &traffic.Target{URL: "http://" + admin, Client: http.DefaultClient},
	}
}

// unnoticed is how long after a kill a client may still use an idle connection, before it reads its
// end.
const unnoticed = 500 * time.Millisecond

// Kill kills the process and remembers when.
func (s *server) Kill() error {
	ending := time.Now().Add(time.Hour)
	s.gone.Store(&ending)
	err := s.Process.Kill()
	gone := time.Now().Add(unnoticed)
	s.gone.Store(&gone)
	return err
}

// killedSince reports whether the process was killed after a request was sent, or shortly before.
func (s *server) killedSince(sent time.Time) bool {
	gone := s.gone.Load()
	return gone != nil && sent.Before(*gone)
}

// ready calls /readyz, as a load balancer does.
func (s *server) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return s.admin.Get(ctx, "/readyz").Failure() == nil
}

func (s *server) waitReady(t *testing.T) {
	t.Helper()
	waitFor(t, time.Minute, s.name+" is ready", func() bool { return s.ready(t.Context()) })
}

func (s *server) metric(t *testing.T, sample string) float64 {
	t.Helper()
	a := s.admin.Get(t.Context(), "/metrics")
	must(t, a.Failure())
	n, err := traffic.Metric(string(a.Body), sample+" ")
	must(t, err)
	return n
}

func waitFor(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", most, what)
		}
	}
}
