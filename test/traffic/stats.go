package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Stats are the results of a load since its last Begin.
type Stats struct {
	Requests int
	Failed   int           // not served, although promised
	Refused  int           // not served, as the promise allows
	InFlight int           // lost with a killed process
	Slowest  time.Duration // of the served requests
	Refusal  time.Duration // the slowest refusal
	First    time.Time     // when the first request that was not served was sent; zero if none
	Last     time.Time     // when the last request that was not served was sent; zero if none
	Written  int           // acknowledged writes and logins
	Lost     int           // of these, missing afterwards
	Checked  int           // reads more than a second after an acknowledged write
	Stale    int           // of these, without the write

	Failures map[string]int // by their texts
}

// Outcome says how a request that was not served counts.
type Outcome int

const (
	Failed Outcome = iota
	Refused
	InFlight
)

func (l *Load) count(k Kind, t *Target, sent time.Time, a Answer) {
	took := time.Since(sent)
	err, outcome := a.Failure(), Failed
	if err != nil && l.Judge != nil {
		outcome = l.Judge(k, t, sent, a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.Before(l.begun) {
		return
	}
	s := &l.stats
	s.Requests++
	if err == nil {
		s.Slowest = max(s.Slowest, took)
		return
	}
	if s.First.IsZero() || sent.Before(s.First) {
		s.First = sent
	}
	if sent.After(s.Last) {
		s.Last = sent
	}
	switch outcome {
	case Refused:
		s.Refused++
		s.Refusal = max(s.Refusal, took)
	case InFlight:
		s.InFlight++
	default:
		s.Failed++
		// Unwrap it, because the outer texts differ each time.
		for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
			err = inner
		}
		s.Failures[fmt.Sprintf("%s: %v", k, err)]++
	}
}

// Begin resets the statistics, and counts requests that are sent from now on.
func (l *Load) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = time.Now()
	l.stats = Stats{Failures: make(map[string]int)}
}

// Stats returns the statistics since Begin.
func (l *Load) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Failures = maps.Clone(s.Failures)
	return s
}

// Verify stops the load and counts the acknowledged writes that are not stored.
func (l *Load) Verify(stored func(*Person) (Profile, error)) error {
	l.Stop()
	written, lost, err := l.Ledger.settle(stored)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Written += written
	l.stats.Lost += lost
	return err
}

// VerifyRunning is Verify of a load that goes on. It reads the profiles from the service.
func (l *Load) VerifyRunning(ctx context.Context) error {
	l.Stop()
	defer l.resume(l.ctx)
	if err := Pause(ctx, freshness); err != nil { // a cached value may be this old
		return err
	}
	return l.Verify(func(p *Person) (Profile, error) {
		for {
			switch a := l.Targets[0].Post(ctx, "get_user_info", p.Session(), struct{}{}); a.Status {
			case 429: // many logins of one user are read in a row
				if err := Pause(ctx, time.Second); err != nil {
					return nil, err
				}
			case 401:
				return nil, nil
			default:
				return Answered(a)
			}
		}
	})
}

// Row is one row of a suite's table.
type Row struct {
	Name   string
	Stats  *Stats // nil: no load
	Result string
}

// Note adds to the row's result.
func (r *Row) Note(format string, args ...any) {
	if r.Result != "" {
		r.Result += "; "
	}
	r.Result += fmt.Sprintf(format, args...)
}

// Print prints rows as a table of Markdown.
func Print(out io.Writer, rows []*Row) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.Debug)
	line := func(cells ...string) { fmt.Fprintln(w, "| "+strings.Join(cells, "\t ")+"\t") }
	line("fault", "requests", "failures", "refused (503)", "in flight, lost", "slowest", "slowest refusal",
		"writes acknowledged", "lost", "reads after writes", "stale", "result")
	line("---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---")
	for _, r := range rows {
		cells := make([]string, 10)
		if s := r.Stats; s != nil {
			n := strconv.Itoa
			cells = []string{
				n(s.Requests), n(s.Failed), n(s.Refused), n(s.InFlight), Short(s.Slowest), Short(s.Refusal),
				n(s.Written), n(s.Lost), n(s.Checked), n(s.Stale),
			}
		}
		line(append(append([]string{r.Name}, cells...), r.Result)...)
	}
	return w.Flush()
}

// Short returns a duration as text, rounded for a table.
func Short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
