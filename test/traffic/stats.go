package traffic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Stats counts the load since the last Begin.
type Stats struct {
	Requests int            // answered or not
	Failed   int            // not answered with 200
	Kinds    map[string]int // of failures, as Answer.Kind names them
	Slowest  time.Duration  // of all requests, failed ones too
	First    time.Time      // when the first failed request was sent; zero if none
	Last     time.Time      // when the last failed request was sent; zero if none
	Stale    int            // reads older than a write acknowledged a second before
	Lost     int            // acknowledged writes and logins that Verify did not find
	Samples  []string       // the first few failures, as text
}

// Run is a load on one address with its statistics. Its methods are safe for concurrent use.
type Run struct {
	ctx  context.Context
	load *Load

	mu    sync.Mutex
	begun time.Time
	stats Stats
}

// steadyMix has no QR codes, which cost the app's quota.
var steadyMix = []Share{{Read, 40}, {Renew, 15}, {Write, 40}, {Login, 5}}

// Start logs users in at service and starts their load, which ends with ctx. Every other request
// opens a new connection. codes is the base URL of the simulated WeChat.
func Start(ctx context.Context, service, codes string, users int, rate float64) (*Run, error) {
	r := &Run{ctx: ctx}
	people := &People{}
	targets := []*Target{{URL: service, Client: newClient(true)}, {URL: service, Client: newClient(false)}}
	id := time.Now().UnixMilli() // new users, because earlier ones have fields that are not empty
	for i := range users {
		p, err := LogIn(ctx, targets, codes, fmt.Sprintf("load-%d-%d", id, i))
		if err != nil {
			return nil, err
		}
		people.Renewers = append(people.Renewers, p)
	}
	people.Readers, people.Writers = people.Renewers[:users/2], people.Renewers[users/2:]
	r.load = &Load{
		Targets: targets, Codes: codes, Rate: rate, Mix: steadyMix, People: people, Ledger: NewLedger(people.Writers),
		Judge: func(k Kind, _ *Target, sent time.Time, a Answer) { r.count(k, sent, a) },
		Checked: func(stale bool) {
			if stale {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.stats.Stale++
			}
		},
	}
	r.Begin()
	r.load.Start(ctx)
	return r, nil
}

// Begin resets the statistics, and counts requests that are sent from now on.
func (r *Run) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = time.Now()
	r.stats = Stats{Kinds: make(map[string]int)}
}

// Stats returns the statistics since Begin.
func (r *Run) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Kinds, s.Samples = maps.Clone(s.Kinds), slices.Clone(s.Samples)
	return s
}

// Verify stops the load, counts the acknowledged writes that are missing, and restarts the load. An
// error means that a profile could not be read.
func (r *Run) Verify(ctx context.Context) error {
	r.load.Stop()
	defer r.load.Start(r.ctx)
	if err := Pause(ctx, freshness); err != nil { // a cached value may be this old
		return err
	}
	_, lost, err := r.load.Ledger.Settle(func(p *Person) (Profile, error) {
		a := r.load.Targets[0].Post(ctx, "get_user_info", p.Session(), struct{}{})
		for a.Status == http.StatusTooManyRequests { // many logins of one user are read in a row
			if err := Pause(ctx, time.Second); err != nil {
				return nil, err
			}
			a = r.load.Targets[0].Post(ctx, "get_user_info", p.Session(), struct{}{})
		}
		if a.Status == http.StatusUnauthorized {
			return nil, nil
		}
		return Answered(a)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Lost += lost
	return err
}

func (r *Run) count(k Kind, sent time.Time, a Answer) {
	took := time.Since(sent)
	r.mu.Lock()
	defer r.mu.Unlock()
	if sent.Before(r.begun) {
		return
	}
	s := &r.stats
	s.Requests++
	s.Slowest = max(s.Slowest, took)
	err := a.Failure()
	if err == nil {
		return
	}
	s.Failed++
	s.Kinds[a.Kind()]++
	if s.First.IsZero() || sent.Before(s.First) {
		s.First = sent
	}
	if sent.After(s.Last) {
		s.Last = sent
	}
	if len(s.Samples) < 5 {
		s.Samples = append(s.Samples, fmt.Sprintf("%s %s after %s: %v", sent.Format("15:04:05.000"), k, took.Round(time.Millisecond), err))
	}
}

// newClient returns a client that keeps its connections, or opens one per request. Its timeout
// exceeds the service's.
func newClient(keepAlive bool) *http.Client {
	return &http.Client{
		Timeout: 8 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 256, DialContext: dial,
		},
	}
}

// Connections use the ports of this range in turn.
const firstPort, lastPort = 10_000, 60_000

var nextPort atomic.Uint32

// dial takes each connection's port in turn, so that a port is not reused for minutes. The kernel
// reuses a port after one minute. A node remembers for two which pod the port's last connection
// went to, and would send a new connection there even after the pod has ended. Only a client that
// opens dozens of connections a second from one address is affected.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	for tries := 1; ; tries++ {
		port := firstPort + int(nextPort.Add(1))%(lastPort-firstPort)
		dialer := net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{Port: port}}
		conn, err := dialer.DialContext(ctx, network, address)
		if taken := errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL); !taken || tries == 20 {
			return conn, err
		}
	}
}
