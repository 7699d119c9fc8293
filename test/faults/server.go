package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
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

func startServer(name, address, admin string, o testprocess.Options) (*server, error) {
	p, err := testprocess.Start(o)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Timeout:   3 * deadly,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second},
	}
	return &server{
		Target: &traffic.Target{URL: "http://" + address, Client: client}, Process: p, name: name,
		admin: &traffic.Target{URL: "http://" + admin, Client: http.DefaultClient},
	}, nil
}

func (s *server) crash() error {
	s.mu.Lock()
	s.kills = append(s.kills, kill{from: time.Now()})
	s.mu.Unlock()
	err := s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills[len(s.kills)-1].to = time.Now()
	return err
}

// unnoticed is how long after a kill a client may still use an idle connection, before it reads its
// end.
const unnoticed = 500 * time.Millisecond

// killedDuring reports whether the process was killed while it had a request that took from start
// to end, or shortly before the request was sent.
func (s *server) killedDuring(start, end time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kills {
		if end.After(k.from) && (k.to.IsZero() || start.Before(k.to.Add(unnoticed))) {
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

func (s *server) waitReady(ctx context.Context) error {
	return waitFor(ctx, 30*time.Second, s.name+" is ready", func() bool { return s.ready(ctx) })
}

func (s *server) metric(ctx context.Context, sample string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*deadly)
	defer cancel()
	a := s.admin.Get(ctx, "/metrics")
	if err := a.Failure(); err != nil {
		return 0, err
	}
	return traffic.Metric(string(a.Body), sample+" ")
}

func waitFor(ctx context.Context, most time.Duration, what string, until func() bool) error {
	for end := time.Now().Add(most); ; {
		if until() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %s", most, what)
		}
		if err := traffic.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
