//go:build faults

package faults

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"shares/test/traffic"
)

// inFlight is the default of SHARES_MAX_IN_FLIGHT.
const inFlight = 1024

// crowd is clients that send one request after the other, and their results.
type crowd struct {
	mu              sync.Mutex
	served, refused []time.Duration // sorted when run returns
	other           []error         // of other answers
}

// run starts the clients within a second and stops them when ctx ends. A refused client sends its
// next request a second later, as Retry-After tells it to.
func (c *crowd) run(ctx context.Context, clients int, send func() traffic.Answer) {
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for err := traffic.Pause(ctx, time.Duration(i)*time.Second/time.Duration(clients)); err == nil; {
				sent := time.Now()
				if c.count(send(), time.Since(sent)) {
					err = traffic.Pause(ctx, time.Second)
				} else {
					err = ctx.Err()
				}
			}
		})
	}
	all.Wait()
	slices.Sort(c.served)
	slices.Sort(c.refused)
}

func (c *crowd) count(a traffic.Answer, took time.Duration) (refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch err := a.Failure(); {
	case err == nil:
		c.served = append(c.served, took)
	case a.Err == nil && a.Status == http.StatusServiceUnavailable && a.RetryAfter:
		c.refused = append(c.refused, took)
		return true
	default:
		c.other = append(c.other, err)
	}
	return false
}

// overload starts a replica without rate limits. It first measures what the replica can serve, with
// as many clients as it serves best. Then it sends from four times as many clients as the replica
// admits. They write, which is the most expensive request.
func overload(f *fault) {
	s := f.servers(f.T, 1, "serve", map[string]string{"SHARES_RATE_LIMIT": "off"})[0]
	var n atomic.Int64
	send := func() traffic.Answer { // a field that the ledger does not check
		i := n.Add(1)
		return s.Post(f.Context(), "update_user_info", f.people.Writers[i%writers].Session(),
			map[string]string{"avatarURL": fmt.Sprintf("https://a.example/%d", i)})
	}
	during := func(d time.Duration, clients int) *crowd {
		lasts, end := context.WithTimeout(f.Context(), d)
		defer end()
		c := &crowd{}
		c.run(lasts, clients, send)
		return c
	}
	during(2*time.Second, 64) // warm
	can := len(during(2*time.Second, 64).served) / 2
	before, err := s.Memory()
	f.check(err)
	var memory []int64
	watching, stop := context.WithCancel(f.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		for traffic.Pause(watching, 100*time.Millisecond) == nil {
			if now, err := s.Memory(); err == nil {
				memory = append(memory, now)
			}
		}
	})
	const lasts = 8
	c := during(lasts*time.Second, 4*inFlight)
	stop()
	watch.Wait()
	fixed(f)
	healthy := 0
	waitFor(f.T, recovery, "healthy after the overload", func() bool {
		for healthy = 0; healthy < 100 && send().Failure() == nil; healthy++ {
		}
		return healthy == 100
	})
	f.overloaded(c, can, lasts, before, memory)
	f.row.Note("100 served in a row %s later", traffic.Short(time.Since(f.fixed)))
	f.check(s.Kill())
}

// overloaded judges the results of a crowd on a server that can serve can requests a second.
func (f *fault) overloaded(c *crowd, can, seconds int, before int64, memory []int64) {
	// All clients have started by the second half.
	half, last := len(memory)/2, len(memory)*3/4
	early, late := slices.Max(memory[half:last]), slices.Max(memory[last:])
	f.own = traffic.Stats{
		Requests: len(c.served) + len(c.refused) + len(c.other), Refused: len(c.refused), Failed: len(c.other),
		Slowest: percentile(c.served, 100), Refusal: percentile(c.refused, 100),
	}
	short := traffic.Short
	f.row.Note("capacity %d/s; %d clients: %d/s served (median %s, p99 %s), %d/s refused (median %s, p99 %s); memory %d MB before, %d, then %d",
		can, 4*inFlight, len(c.served)/seconds, short(percentile(c.served, 50)), short(percentile(c.served, 99)),
		len(c.refused)/seconds, short(percentile(c.refused, 50)), short(percentile(c.refused, 99)), before>>20, early>>20, late>>20)
	if late > early+early/4+(16<<20) {
		f.Errorf("memory grows under overload: %d MB in the third quarter, %d MB in the last", early>>20, late>>20)
	}
	if len(c.served)/seconds < can/4 { // the clients take most of the machine
		f.Errorf("of a capacity of %d/s, %d/s are left under overload", can, len(c.served)/seconds)
	}
	if len(c.refused) == 0 {
		f.Errorf("there was no overload")
	}
	if len(c.other) > 0 {
		f.Errorf("%d answers were neither 200 nor 503 with Retry-After: %v", len(c.other), c.other[0])
	}
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}
