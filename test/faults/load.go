package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"shares/test/traffic"
)

const (
	readers = 40 // not written during the load, so that their rows stay cached
	writers = 40
	codes   = 20 // existing QR codes
)

// everything must be served during faults that take nothing away.
var everything = []traffic.Kind{
	traffic.Read, traffic.Renew, traffic.Write, traffic.Check, traffic.Login, traffic.Code, traffic.NewCode, traffic.Image,
}

var mix = []traffic.Share{
	{Kind: traffic.Read, Parts: 40}, {Kind: traffic.Renew, Parts: 10}, {Kind: traffic.Write, Parts: 20}, {Kind: traffic.Login, Parts: 5},
	{Kind: traffic.Code, Parts: 15}, {Kind: traffic.NewCode, Parts: 1}, {Kind: traffic.Image, Parts: 9},
}

// load is the traffic during one row, and judges its answers.
type load struct {
	traffic.Load
	w       *world
	row     row
	report  *report
	stopped context.CancelFunc
	probes  sync.WaitGroup

	mu       sync.Mutex
	lastBad  time.Time // time of the last answer other than 200
	examples map[string]int
}

func (w *world) startLoad(ctx context.Context, of row, r *report) *load {
	l := &load{w: w, row: of, report: r, examples: make(map[string]int)}
	l.Load = traffic.Load{
		Targets: w.targets(), Codes: w.wechat.Target.URL, Rate: float64(w.rate), Mix: mix, People: w.people, Ledger: w.ledger,
		Newcomers: true, Balance: true, Judge: l.judge,
		Checked: func(stale bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			r.checked++
			if stale {
				r.stale++
			}
		},
	}
	probing, stop := context.WithCancel(ctx)
	l.stopped = stop
	for _, s := range w.edges {
		s.Away.Store(false)
		l.probes.Go(func() { l.probe(probing, s) })
	}
	l.Start(ctx)
	return l
}

func (l *load) stop() {
	l.Stop()
	l.stopped()
	l.probes.Wait()
	for example, n := range l.examples {
		l.report.breaks("%d × %s", n, example)
	}
}

// probe takes a server out of balance while it is not ready.
func (l *load) probe(ctx context.Context, s *server) {
	for traffic.Pause(ctx, 100*time.Millisecond) == nil {
		if ready := s.ready(ctx); ctx.Err() == nil {
			s.Away.Store(!ready)
		}
	}
}

func (l *load) judge(k traffic.Kind, t *traffic.Target, start time.Time, a traffic.Answer) {
	end := time.Now()
	took := end.Sub(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.requests++
	if a.Failure() == nil {
		r.slowest = max(r.slowest, took)
		return
	}
	l.lastBad = end
	mayBeRefused := !slices.Contains(l.row.promised, k) && a.Err == nil &&
		(a.Status == http.StatusServiceUnavailable && a.RetryAfter || a.Status == http.StatusGatewayTimeout && l.row.late)
	switch {
	case mayBeRefused:
		r.refused++
		r.refusal = max(r.refusal, took)
	case l.died(t, start, end, a):
		r.inFlight++
	default:
		r.failures++
		// Unwrap it, because the outer texts differ each time.
		err := a.Failure()
		for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
			err = inner
		}
		l.examples[fmt.Sprintf("%s: %v", k, err)]++
	}
}

// died reports whether a request failed because its process was killed: the edge, or a user service
// behind it, which the edge reports as 503.
func (l *load) died(t *traffic.Target, start, end time.Time, a traffic.Answer) bool {
	suspects := l.w.users
	if a.Err != nil {
		suspects = slices.DeleteFunc(slices.Clone(l.w.edges), func(s *server) bool { return s.Target != t })
	} else if a.Status != http.StatusServiceUnavailable {
		return false
	}
	return slices.ContainsFunc(suspects, func(s *server) bool { return s.killedDuring(start, end) })
}

func (l *load) quietSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastBad
}

// moveIn logs new users in, creates the QR codes and warms both replicas.
func (w *world) moveIn(ctx context.Context) error {
	p := &traffic.People{}
	w.settings++
	for i := range readers + writers {
		targets := w.targets()
		if i%2 == 1 {
			slices.Reverse(targets)
		}
		who, err := traffic.LogIn(ctx, targets, w.wechat.Target.URL, fmt.Sprintf("user-%d-%d", w.settings, i))
		if err != nil {
			return err
		}
		if i < readers {
			p.Readers = append(p.Readers, who)
		} else {
			p.Writers = append(p.Writers, who)
		}
	}
	p.Renewers = p.Readers
	for i := range codes {
		for _, edge := range w.edges { // each must have seen that the code exists
			path, a := edge.QRCode(ctx, p.Readers[i].Session(), traffic.RepeatedScene(i))
			if a.Failure() != nil {
				return fmt.Errorf("first codes: %w", a.Failure())
			}
			if edge == w.edges[0] {
				p.Pictures = append(p.Pictures, path)
			}
		}
	}
	w.people, w.ledger = p, traffic.NewLedger(p.Writers)
	return nil
}

// profiles returns a function that returns a user's stored profile.
func profiles(ctx context.Context, db *sql.DB) (_ func(*traffic.Person) (traffic.Profile, error), err error) {
	rows, err := db.QueryContext(ctx, "SELECT openid, nick_name, city, province, country FROM wx_userinfo")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	stored := make(map[string]traffic.Profile)
	for rows.Next() {
		var openid string
		var values [4]string
		if err := rows.Scan(&openid, &values[0], &values[1], &values[2], &values[3]); err != nil {
			return nil, err
		}
		if stored[openid] != nil {
			return nil, errors.New("two rows of one openid")
		}
		stored[openid] = traffic.Profile{"nickName": values[0], "city": values[1], "province": values[2], "country": values[3]}
	}
	return func(p *traffic.Person) (traffic.Profile, error) { return stored[p.OpenID], nil }, rows.Err()
}
