package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"shares/internal/testenv/testos"
	"shares/test/testprocess"
)

// server is a program of ours that can be started again on the same address.
type server struct {
	name    string
	address string
	admin   string // empty of the simulator
	options testprocess.Options
	client  *http.Client
	process *testprocess.Process

	away  atomic.Bool // the load sends nothing there
	mu    sync.Mutex
	kills []kill
}

// kill is when a process was killed, and by when it was gone (zero: not yet).
type kill struct{ from, to time.Time }

func newClient() *http.Client {
	return &http.Client{
		Timeout:   3 * deadly,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second},
	}
}

func (s *server) start() (err error) {
	s.process, err = testprocess.Start(s.options)
	return err
}

func (s *server) stop() error {
	if s.process == nil {
		return nil
	}
	return s.process.Kill()
}

func (s *server) url() string { return "http://" + s.address }

// kill ends the process as a crash would.
func (s *server) kill() error {
	s.mu.Lock()
	s.kills = append(s.kills, kill{from: time.Now()})
	s.mu.Unlock()
	err := s.process.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills[len(s.kills)-1].to = time.Now()
	return err
}

// unnoticed is how long after a kill a client may still take an idle connection
// for a living one: until it gets to read the end of it.
const unnoticed = 500 * time.Millisecond

// killedDuring reports whether the process was killed while a request that
// took from start to end was with it, or sent into its dead connections.
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

// ready asks /readyz, as a load balancer does.
func (s *server) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	status, _, err := get(ctx, http.DefaultClient, "http://"+s.admin+"/readyz")
	return err == nil && status == http.StatusOK
}

func (s *server) waitReady(ctx context.Context) error {
	return waitFor(ctx, 30*time.Second, s.name+" is ready", func() bool { return s.ready(ctx) })
}

// metric returns the value of a sample as /metrics prints it, name and labels.
func (s *server) metric(ctx context.Context, sample string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*deadly)
	defer cancel()
	_, body, err := get(ctx, http.DefaultClient, "http://"+s.admin+"/metrics")
	if err != nil {
		return 0, err
	}
	for scan := bufio.NewScanner(bytes.NewReader(body)); scan.Scan(); {
		if value, ok := strings.CutPrefix(scan.Text(), sample+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", s.name, sample)
}

// memory returns the process's resident memory in bytes.
func (s *server) memory() (int64, error) {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(s.process.Pid())).Output()
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", s.name, err)
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10, err
}

func get(ctx context.Context, client *http.Client, url string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, errors.Join(err, resp.Body.Close())
}

func waitFor(ctx context.Context, most time.Duration, what string, until func() bool) error {
	for end := time.Now().Add(most); ; {
		if until() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %s until %s, in vain", most, what)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refused reports whether nobody listened: the request was surely not begun,
// and a client or balancer may send it elsewhere.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// pause freezes the process: connections are accepted by the kernel, and
// nothing is answered.
func (s *server) pause() error { return s.process.Signal(testos.Stop) }

// resume lets a paused process run on.
func (s *server) resume() error { return s.process.Signal(testos.Continue) }
