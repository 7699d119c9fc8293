package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// kind is what a request of the load is about.
type kind string

const (
	read    kind = "read"             // a profile that nobody writes
	renew   kind = "re_login"         // a session of such a user
	write   kind = "write"            // one field of a user
	check   kind = "read after write" // the same user, a second after the acknowledgement, elsewhere
	login   kind = "login"            // of a newcomer, or again
	code    kind = "QR code"          // that exists
	newCode kind = "new QR code"
	picture kind = "picture"
)

// everything is what must be served while a fault that takes nothing away lasts.
var everything = []kind{read, renew, write, check, login, code, newCode, picture}

// mix is how often each kind is sent, in parts of the whole. Checks follow writes.
var mix = []struct {
	kind
	parts int
}{{read, 40}, {renew, 10}, {write, 20}, {login, 5}, {code, 15}, {newCode, 1}, {picture, 9}}

// load sends requests at a fixed rate, whether or not the earlier ones have
// been answered, and judges the answers.
type load struct {
	w      *world
	row    row
	report *report

	stopping context.CancelFunc
	sender   sync.WaitGroup
	running  sync.WaitGroup // requests, and reads that are due
	next     atomic.Int64

	mu       sync.Mutex
	lastBad  time.Time // when the last answer other than 200 came
	examples map[string]int
}

func (w *world) startLoad(ctx context.Context, of row, r *report) *load {
	l := &load{w: w, row: of, report: r, examples: make(map[string]int)}
	balancing, stop := context.WithCancel(ctx)
	l.stopping = stop
	for _, s := range w.edges {
		s.away.Store(false)
		l.sender.Go(func() { l.probe(balancing, s) })
	}
	l.sender.Go(func() { l.send(balancing, ctx) })
	return l
}

// stop ends the load when everything that was begun is answered.
func (l *load) stop() {
	l.stopping()
	l.sender.Wait()
	l.running.Wait()
	for example, n := range l.examples {
		l.report.breaks("%d × %s", n, example)
	}
}

// probe takes a server out of balance while it says that it is not ready.
func (l *load) probe(ctx context.Context, s *server) {
	for pause(ctx, 100*time.Millisecond) == nil {
		if ready := s.ready(ctx); ctx.Err() == nil {
			s.away.Store(!ready)
		}
	}
}

func (l *load) send(until, ctx context.Context) {
	total := 0
	for _, m := range mix {
		total += m.parts
	}
	start := time.Now()
	for n := 0; pause(until, 5*time.Millisecond) == nil; {
		for due := int(time.Since(start).Seconds() * float64(l.w.rate)); n < due; n++ {
			at := rand.IntN(total)
			for _, m := range mix {
				if at -= m.parts; at < 0 {
					l.running.Go(func() { l.request(ctx, m.kind) })
					break
				}
			}
		}
	}
}

// pick returns a server in balance, in turn.
func (l *load) pick() *server {
	edges := l.w.edges
	n := int(l.next.Add(1))
	for i := range edges {
		if s := edges[(n+i)%len(edges)]; !s.away.Load() {
			return s
		}
	}
	return edges[n%len(edges)]
}

// balanced sends a request as a balancer does: to the next server where one
// does not listen.
func (l *load) balanced(ctx context.Context, k kind, first *server, do func(*server) answer) (answer, *server, time.Time) {
	start := time.Now()
	s := first
	a := do(s)
	for range 2 * len(l.w.edges) {
		if !refused(a.err) {
			break
		}
		s.away.Store(true)
		s = l.pick()
		a = do(s)
	}
	if ctx.Err() == nil {
		l.judge(k, s, start, a)
	}
	return a, s, start
}

func (l *load) request(ctx context.Context, k kind) {
	p := l.w.people
	reader := p.readers[rand.IntN(len(p.readers))]
	n := rand.IntN(codes)
	post := func(endpoint string, who *person, body any) {
		l.balanced(ctx, k, l.pick(), func(s *server) answer { return s.post(ctx, endpoint, who.session, body) })
	}
	switch k {
	case read:
		post("weixin.get_user_info", reader, struct{}{})
	case renew:
		post("weixin.re_login", reader, struct{}{})
	case code:
		l.balanced(ctx, k, l.pick(), func(s *server) answer {
			path, a := s.qrcode(ctx, reader.session, repeatedScene(n))
			if a.status == http.StatusOK && path != p.pictures[n] {
				a.err = fmt.Errorf("the code has another address than before")
			}
			return a
		})
	case newCode:
		scene := p.newScene()
		l.balanced(ctx, k, l.pick(), func(s *server) answer {
			_, a := s.qrcode(ctx, reader.session, scene)
			return a
		})
	case picture:
		l.balanced(ctx, k, l.pick(), func(s *server) answer { return s.picture(ctx, p.pictures[n]) })
	case login:
		l.login(ctx, reader)
	case write:
		l.write(ctx)
	}
}

func (l *load) login(ctx context.Context, again *person) {
	name := again.name
	if rand.IntN(2) == 0 {
		name = fmt.Sprintf("newcomer-%d", l.w.people.newcomers.Add(1))
	}
	jscode, real := l.w.loginCode(ctx, name)
	a, _, _ := l.balanced(ctx, login, l.pick(), func(s *server) answer {
		a := s.post(ctx, "weixin.oauth", "", map[string]string{"jscode": jscode})
		if !real && a.status == http.StatusUnauthorized { // WeChat is back, and does not know the made-up code
			a.status = http.StatusOK
		}
		return a
	})
	var got struct{ OpenId string }
	if a.into(&got) == nil && got.OpenId != "" {
		l.w.ledger.login(got.OpenId)
	}
}

// write writes a field, and has it read elsewhere a second after the
// acknowledgement.
func (l *load) write(ctx context.Context) {
	f, n := l.w.ledger.take()
	if f == nil {
		return // all have failed: nothing new can be learnt
	}
	endpoint, body := f.request(n)
	a, wroteTo, _ := l.balanced(ctx, write, l.pick(), func(s *server) answer { return s.post(ctx, endpoint, f.owner.session, body) })
	l.w.ledger.give(f, n, a.failure() == nil)
	if a.failure() != nil {
		return
	}
	if pause(ctx, time.Second) != nil {
		return
	}
	other := l.pick()
	if other == wroteTo {
		other = l.pick()
	}
	a, _, _ = l.balanced(ctx, check, other, func(s *server) answer {
		return s.post(ctx, "weixin.get_user_info", f.owner.session, struct{}{})
	})
	if a.failure() != nil {
		return
	}
	got, err := f.in(a.body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.checked++
	if err != nil || got < n {
		l.report.stale++
	}
}

// judge counts an answer.
func (l *load) judge(k kind, s *server, start time.Time, a answer) {
	end := time.Now()
	took := end.Sub(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.requests++
	if a.failure() == nil {
		r.slowest = max(r.slowest, took)
		return
	}
	l.lastBad = end
	mayBeRefused := !slices.Contains(l.row.promised, k) && a.err == nil &&
		(a.status == http.StatusServiceUnavailable && a.retryAfter || a.status == http.StatusGatewayTimeout && l.row.late)
	switch {
	case mayBeRefused:
		r.refused++
		r.refusal = max(r.refusal, took)
	case l.died(s, start, end, a):
		r.inFlight++
	default:
		r.failures++
		l.examples[fmt.Sprintf("%s: %s", k, l.describe(a))]++
	}
}

// died reports whether a request was with a process when it was killed: with
// the edge, or with a user service behind it, which the edge says by 503.
func (l *load) died(s *server, start, end time.Time, a answer) bool {
	if a.err != nil {
		return s.killedDuring(start, end)
	}
	return a.status == http.StatusServiceUnavailable &&
		slices.ContainsFunc(l.w.users, func(u *server) bool { return u.killedDuring(start, end) })
}

// describe says what went wrong without what differs each time.
func (l *load) describe(a answer) string {
	err := a.failure()
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// quietSince returns when the last answer other than 200 came.
func (l *load) quietSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastBad
}
