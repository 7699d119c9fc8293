// Package traffic is the load that the cluster suite puts on the service:
// users who log in, write, read what they wrote and renew their sessions, at a
// steady pace, and remember what was acknowledged. The loader runs it in the
// cluster; the suite reads its Stats.
package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Stats is what happened since the last Begin.
type Stats struct {
	Requests int            // answered or not
	Failed   int            // not answered with 200
	Kinds    map[string]int // of failures: an HTTP status, or refused, reset, timeout, eof, other
	Slowest  time.Duration  // of all requests, failed ones too
	First    time.Time      // when the first failed request was sent; zero if none
	Last     time.Time      // when the last failed request was sent; zero if none
	Stale    int            // reads older than a write acknowledged over a second before
	Lost     int            // users whose acknowledged write was gone at the last Verify
	Logins   int            // new sessions
	Samples  []string       // the first few failures, for people
}

// Options say what load there is. All are required.
type Options struct {
	Service string        // base URL
	Codes   string        // base URL of the simulated WeChat that gives login codes
	Users   int           // how many at once; every other one opens a new connection for each request
	Pace    time.Duration // between one user's requests
}

// freshness is after how long a read must see an acknowledged write.
const freshness = time.Second

// timeout is longer than the service's own deadline.
const timeout = 8 * time.Second

// Run is load that is going on. Its methods are safe for concurrent use.
type Run struct {
	opts  Options
	users []*user

	mu    sync.Mutex
	begun time.Time
	stats Stats
}

// Start begins the load, which ends with ctx.
func Start(ctx context.Context, opts Options) *Run {
	r := &Run{opts: opts}
	r.Begin()
	// Users of their own: what earlier ones wrote is not to be found.
	id := strconv.FormatInt(time.Now().UnixMilli(), 36)
	for i := range opts.Users {
		u := &user{run: r, name: "load-" + id + "-" + strconv.Itoa(i), client: NewClient(i%2 == 0)}
		r.users = append(r.users, u)
		go u.live(ctx, time.Duration(i)*opts.Pace/time.Duration(opts.Users))
	}
	return r
}

// NewClient returns a client that keeps its connections, or makes one for
// each request.
func NewClient(keepAlive bool) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: !keepAlive,
			DialContext:       dial,
		},
	}
}

// The ports that connections come from, in turn.
const firstPort, lastPort = 10_000, 60_000

var nextPort atomic.Uint32

// dial has every connection come from another port than those of the last
// minutes. The kernel's own choice comes back to a port after one, while a
// node remembers for two to which pod the port's last connection went: a new
// one from it would be sent there too, although the pod is gone. Only a
// client that opens dozens of connections a second from one address meets that.
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

// Begin forgets what was counted, and counts requests that are sent from now on.
func (r *Run) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = time.Now()
	r.stats = Stats{Kinds: make(map[string]int)}
}

// Stats returns what was counted since Begin.
func (r *Run) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Kinds = make(map[string]int, len(r.stats.Kinds))
	for k, n := range r.stats.Kinds {
		s.Kinds[k] = n
	}
	s.Samples = append([]string(nil), r.stats.Samples...)
	return s
}

// Verify reads every user's profile and counts those whose last acknowledged
// write is gone. Its own requests are not counted. An error means that a
// profile could not be read.
func (r *Run) Verify(ctx context.Context) error {
	lost := 0
	var errs []error
	for _, u := range r.users {
		gone, err := u.verify(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.name, err))
		}
		if gone {
			lost++
		}
	}
	r.mu.Lock()
	r.stats.Lost = lost
	r.mu.Unlock()
	return errors.Join(errs...)
}

func (r *Run) count(what string, sent time.Time, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sent.Before(r.begun) {
		return
	}
	s := &r.stats
	s.Requests++
	s.Slowest = max(s.Slowest, took)
	if err == nil {
		return
	}
	s.Failed++
	s.Kinds[Kind(err)]++
	if s.First.IsZero() || sent.Before(s.First) {
		s.First = sent
	}
	if sent.After(s.Last) {
		s.Last = sent
	}
	if len(s.Samples) < 5 {
		s.Samples = append(s.Samples, fmt.Sprintf("%s %s after %s: %v", sent.Format("15:04:05.000"), what, took.Round(time.Millisecond), err))
	}
}

func (r *Run) tally(f func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.stats)
}

// Status is an answer other than 200.
type Status struct {
	Code int
	Body string
}

func (s *Status) Error() string { return fmt.Sprintf("status %d: %s", s.Code, s.Body) }

// Kind names a failed request in a word.
func Kind(err error) string {
	var status *Status
	var netErr net.Error
	switch {
	case errors.As(err, &status):
		return strconv.Itoa(status.Code)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	}
	return "other"
}

// Call posts in as JSON and decodes a 200's answer into out, if there is one.
func Call(ctx context.Context, client *http.Client, url, session string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if session != "" {
		req.Header.Set("Authorization", "Bearer "+session)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &Status{resp.StatusCode, strings.TrimSpace(string(answer[:min(len(answer), 200)]))}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

const prefix = "/shares/api/v1/weixin."

// Login logs name in and returns the session. The first error is that of
// getting a code, which is not the service's.
func Login(ctx context.Context, client *http.Client, service, codes, name string) (session string, codeErr, err error) {
	var code struct {
		Code string `json:"code"`
	}
	if err := Call(ctx, client, codes+"/simulator/code", "", map[string]string{"user": name}, &code); err != nil {
		return "", err, nil
	}
	var answer struct {
		SessionID string `json:"sessionId"`
	}
	err = Call(ctx, client, service+prefix+"oauth", "", map[string]string{"jscode": code.Code}, &answer)
	return answer.SessionID, nil, err
}
