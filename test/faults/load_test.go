//go:build faults

package faults

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"shares/test/traffic"
)

const (
	rate     = 300             // requests a second
	steady   = time.Second     // load before a fault
	lasting  = 3 * time.Second // duration of a fault
	recovery = 15 * time.Second
)

// row is one fault.
type row struct {
	name     string
	promised []traffic.Kind // must be served throughout; the rest may be 503 with Retry-After
	late     bool           // the rest may also be 504, because a dependency hangs
	alone    bool           // the fault has its own load, which uses the whole machine
	prompt   bool           // everything must be served again a second after the fix
	steps    []step         // break something and fix it
}

// fault is a row that is measured.
type fault struct {
	*world
	*testing.T
	row   *traffic.Row
	fixed time.Time // when the fault was over

	mu  sync.Mutex
	own traffic.Stats // of a row with its own load
}

type step func(*fault)

// everything must be served during faults that take nothing away.
var everything = []traffic.Kind{
	traffic.Read, traffic.Renew, traffic.Write, traffic.Check, traffic.Login, traffic.Code, traffic.NewCode, traffic.Image,
}

func without(kinds ...traffic.Kind) []traffic.Kind {
	return slices.DeleteFunc(slices.Clone(everything), func(k traffic.Kind) bool { return slices.Contains(kinds, k) })
}

var mix = []traffic.Share{
	{Kind: traffic.Read, Parts: 40}, {Kind: traffic.Renew, Parts: 10}, {Kind: traffic.Write, Parts: 20}, {Kind: traffic.Login, Parts: 5},
	{Kind: traffic.Code, Parts: 15}, {Kind: traffic.NewCode, Parts: 1}, {Kind: traffic.Image, Parts: 9},
}

// measure runs a row's steps, under the load unless the row has its own.
func (w *world) measure(t *testing.T, r row) *traffic.Row {
	f := &fault{world: w, T: t, row: &traffic.Row{Name: r.name}}
	if r.alone {
		for _, do := range r.steps {
			do(f)
		}
		f.row.Stats = &f.own
		return f.row
	}
	load := &traffic.Load{
		Targets: w.targets(), Codes: w.wechat.Target.URL, Rate: rate, Mix: mix, People: w.people, Ledger: w.ledger,
		Newcomers: true, Balance: true, Judge: w.judge(r),
	}
	var probes sync.WaitGroup
	probing, stop := context.WithCancel(t.Context())
	defer probes.Wait()
	defer stop()
	for _, s := range w.edges {
		s.Away.Store(false)
		probes.Go(func() { probe(probing, s) })
	}
	load.Start(t.Context())
	time.Sleep(steady)
	for _, do := range r.steps {
		do(f)
	}
	time.Sleep(time.Until(f.fixed.Add(steady / 2)))
	must(t, w.ledger.Reconcile(w.stored(t)))
	reconciled := time.Now()
	waitFor(t, recovery, "everything is served again", func() bool {
		last := load.Stats().Last
		if last.Before(reconciled) {
			last = reconciled
		}
		return time.Since(last) > time.Second
	})
	load.Stop()
	must(t, load.Verify(w.stored(t)))
	stats := load.Stats()
	f.row.Stats = &stats
	f.judge(r)
	return f.row
}

// judge checks the results of the load.
func (f *fault) judge(r row) {
	s := f.row.Stats
	if after := s.Last.Sub(f.fixed); after > 100*time.Millisecond && s.Refused > 0 {
		f.row.Note("all served again after %s", traffic.Short(after))
		if r.prompt && after > time.Second {
			f.Errorf("requests were refused until %s after the fix", after)
		}
	}
	for text, n := range s.Failures {
		f.Errorf("%d × %s", n, text)
	}
	if s.Lost > 0 {
		f.Errorf("%d acknowledged writes are not in the database", s.Lost)
	}
	if s.Stale > 0 {
		f.Errorf("%d reads a second after an acknowledged write returned the old value", s.Stale)
	}
	// A busy machine may add 2 s.
	if most := deadly + 2*time.Second; s.Slowest > most || s.Refusal > most {
		f.Errorf("an answer took longer than the %s of a request", deadly)
	}
}

// probe takes a server out of balance while it is not ready.
func probe(ctx context.Context, s *server) {
	for traffic.Pause(ctx, 100*time.Millisecond) == nil {
		if ready := s.ready(ctx); ctx.Err() == nil {
			s.Away.Store(!ready)
		}
	}
}

// judge returns how an answer other than 200 counts during a row.
func (w *world) judge(r row) func(traffic.Kind, *traffic.Target, time.Time, traffic.Answer) traffic.Outcome {
	return func(k traffic.Kind, t *traffic.Target, sent time.Time, a traffic.Answer) traffic.Outcome {
		switch unavailable := a.Err == nil && a.Status == http.StatusServiceUnavailable; {
		case slices.Contains(r.promised, k):
		case unavailable && a.RetryAfter, a.Err == nil && a.Status == http.StatusGatewayTimeout && r.late:
			return traffic.Refused
		}
		// A killed process takes its requests with it: the edge, or a user service behind it, which
		// the edge reports as 503.
		suspects := w.users
		if a.Err != nil {
			suspects = slices.DeleteFunc(slices.Clone(w.edges), func(s *server) bool { return s.Target != t })
		} else if a.Status != http.StatusServiceUnavailable {
			return traffic.Failed
		}
		if slices.ContainsFunc(suspects, func(s *server) bool { return s.killedSince(sent) }) {
			return traffic.InFlight
		}
		return traffic.Failed
	}
}
