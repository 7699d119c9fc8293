//go:build faults

package faults

import (
	"context"
	"net/http"
	"sync"
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
	admin *traffic.Target // not of the simulator

	mu    sync.Mutex
	kills []kill
}

// kill is the time at which a process was killed, and at which it had ended (zero: not yet).
type kill struct{ from, to time.Time }

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

// Kill kills the process and remembers when.
func (s *server) Kill() error {
	s.mu.Lock()
	s.kills = append(s.kills, kill{from: time.Now()})
	s.mu.Unlock()
	err := s.Process.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills[len(s.kills)-1].to = time.Now()
	return err
}

// unnoticed is how long after a kill a client may still use an idle connection, before it reads its
// end.
const unnoticed = 500 * time.Millisecond

// killedSince reports whether the process was killed while it had a request that was sent at start,
// or shortly before the request was sent.
func (s *server) killedSince(start time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kills {
		if k.to.IsZero() || start.Before(k.to.Add(unnoticed)) {
			return true
		}
	}
	return false
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
