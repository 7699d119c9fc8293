// Package traffic is the load of the faults and the cluster suite. Its users log in, read, write,
// read their writes, renew sessions and get QR codes, at a fixed rate. A ledger records the
// acknowledged writes. The suites judge the answers.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Kind is the purpose of a request.
type Kind string

const (
	Read    Kind = "read"             // a profile that the load does not write
	Renew   Kind = "re_login"         // a session
	Write   Kind = "write"            // one field of a user
	Check   Kind = "read after write" // the same user, a second after the acknowledgement, elsewhere
	Login   Kind = "login"            // of a new user, or a later one
	Code    Kind = "QR code"          // that exists
	NewCode Kind = "new QR code"
	Image   Kind = "picture"
)

// Share is the share of a kind in the mix, in parts of the sum. Checks follow writes.
type Share struct {
	Kind
	Parts int
}

// freshness is the time after which a read must see an acknowledged write.
const freshness = time.Second

var errSessionLost = errors.New("session lost")

// Load sends requests at a fixed rate, whether or not earlier ones have been answered.
type Load struct {
	Targets []*Target // each gets a request in turn, unless it is Away
	Codes   string    // base URL of the simulated WeChat, for login codes
	Rate    float64   // requests a second
	Mix     []Share
	People  *People
	Ledger  *Ledger
	// Newcomers makes every other login that of a new user, which never renews its session.
	Newcomers bool
	// Balance sends a request to the next target if one refuses the connection, and sets it Away.
	Balance bool
	// Judge says how an answer other than 200 counts. If it is nil, such an answer is a failure.
	Judge func(k Kind, t *Target, sent time.Time, a Answer) Outcome

	mu    sync.Mutex
	begun time.Time
	stats Stats

	ctx     context.Context
	stop    context.CancelFunc
	sender  sync.WaitGroup
	running sync.WaitGroup // requests, and Checks that are due
	next    atomic.Int64   // counts picks
	renewed atomic.Int64   // counts renewals
}

// Start starts the load with new statistics. Requests are cancelled with ctx.
func (l *Load) Start(ctx context.Context) {
	l.Begin()
	l.resume(ctx)
}

func (l *Load) resume(ctx context.Context) {
	sending, stop := context.WithCancel(ctx)
	l.ctx, l.stop = ctx, stop
	l.sender.Go(func() { l.send(sending, ctx) })
}

// Stop stops the load and returns when every request is answered.
func (l *Load) Stop() {
	l.stop()
	l.sender.Wait()
	l.running.Wait()
}

func (l *Load) send(until, ctx context.Context) {
	total := 0
	for _, m := range l.Mix {
		total += m.Parts
	}
	start := time.Now()
	for n := 0; Pause(until, 5*time.Millisecond) == nil; {
		for due := int(time.Since(start).Seconds() * l.Rate); n < due; n++ {
			at := rand.IntN(total)
			for _, m := range l.Mix {
				if at -= m.Parts; at < 0 {
					l.running.Go(func() { l.request(ctx, m.Kind) })
					break
				}
			}
		}
	}
}

// Pause waits for d, or returns ctx's error if ctx ends first.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Load) pick() *Target {
	n := int(l.next.Add(1))
	for i := range l.Targets {
		if t := l.Targets[(n+i)%len(l.Targets)]; !t.Away.Load() {
			return t
		}
	}
	return l.Targets[n%len(l.Targets)]
}

// balanced sends a request like a load balancer. If a target refuses the connection, the request
// goes to the next one, because it was surely not processed.
func (l *Load) balanced(ctx context.Context, k Kind, first *Target, do func(*Target) Answer) (Answer, *Target) {
	sent := time.Now()
	t := first
	a := do(t)
	for range 2 * len(l.Targets) {
		if !l.Balance || !errors.Is(a.Err, syscall.ECONNREFUSED) {
			break
		}
		t.Away.Store(true)
		t = l.pick()
		a = do(t)
	}
	if ctx.Err() == nil {
		l.count(k, t, sent, a)
	}
	return a, t
}

func (l *Load) request(ctx context.Context, k Kind) {
	p := l.People
	reader := p.Readers[rand.IntN(len(p.Readers))]
	send := func(do func(*Target) Answer) { l.balanced(ctx, k, l.pick(), do) }
	switch k {
	case Read:
		send(func(t *Target) Answer { return t.Post(ctx, "get_user_info", reader.Session(), struct{}{}) })
	case Renew:
		who := p.Renewers[int(l.renewed.Add(1))%len(p.Renewers)]
		send(func(t *Target) Answer { return l.renew(ctx, t, who) })
	case Code:
		n := rand.IntN(len(p.Pictures))
		send(func(t *Target) Answer {
			path, a := t.QRCode(ctx, reader.Session(), RepeatedScene(n))
			if a.Failure() == nil && path != p.Pictures[n] {
				a.Err = errors.New("the code's address has changed")
			}
			return a
		})
	case NewCode:
		scene := p.NewScene()
		send(func(t *Target) Answer { _, a := t.QRCode(ctx, reader.Session(), scene); return a })
	case Image:
		send(func(t *Target) Answer { return t.Get(ctx, p.Pictures[rand.IntN(len(p.Pictures))]) })
	case Login:
		l.login(ctx, reader)
	case Write:
		l.write(ctx)
	}
}

// renew renews a session. It is a failure if a valid session is not renewed.
func (l *Load) renew(ctx context.Context, t *Target, who *Person) Answer {
	a := t.Post(ctx, "re_login", who.Session(), struct{}{})
	var got struct {
		Relogin   bool
		SessionId string
	}
	if a.Failure() != nil {
		return a
	}
	if a.Err = a.Into(&got); a.Err == nil && got.Relogin {
		a.Err = errSessionLost
		code, _ := loginCode(ctx, l.Codes, who.Name)
		again, _ := login(ctx, t, code)
		got.SessionId = again.Session()
	}
	if got.SessionId != "" {
		who.renewed(got.SessionId)
	}
	return a
}

func (l *Load) login(ctx context.Context, again *Person) {
	name := again.Name
	newcomer := l.Newcomers && rand.IntN(2) == 0
	if newcomer {
		name = fmt.Sprintf("newcomer-%d", l.People.newcomers.Add(1))
	}
	code, real := loginCode(ctx, l.Codes, name)
	var who *Person
	a, _ := l.balanced(ctx, Login, l.pick(), func(t *Target) (a Answer) {
		who, a = login(ctx, t, code)
		if !real && a.Status == http.StatusUnauthorized { // WeChat is back and refuses the made-up code
			a.Status = http.StatusOK
		}
		return a
	})
	if a.Failure() != nil || who.OpenID == "" {
		return
	}
	if !newcomer {
		who = again
	}
	l.Ledger.login(who)
}

// write writes a field. A second after the acknowledgement it reads the field through another
// target.
func (l *Load) write(ctx context.Context) {
	f, n := l.Ledger.take()
	if f == nil {
		return // every field is busy or unsure
	}
	endpoint, body := f.request(n)
	a, wroteTo := l.balanced(ctx, Write, l.pick(), func(t *Target) Answer { return t.Post(ctx, endpoint, f.owner.Session(), body) })
	l.Ledger.give(f, n, a.Failure() == nil)
	if a.Failure() != nil || Pause(ctx, freshness) != nil {
		return
	}
	other := l.pick()
	if other == wroteTo {
		other = l.pick()
	}
	a, _ = l.balanced(ctx, Check, other, func(t *Target) Answer {
		return t.Post(ctx, "get_user_info", f.owner.Session(), struct{}{})
	})
	profile, err := Answered(a)
	if a.Failure() != nil {
		return
	}
	var got int64
	if err == nil {
		got, err = f.number(profile[f.key])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Checked++
	if err != nil || got < n {
		l.stats.Stale++
	}
}
