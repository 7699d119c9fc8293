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

// crowd sends one request after the other from each client, until ctx ends. The clients start within
// a second. A refused client sends its next request a second later, as Retry-After tells it to.
func crowd(ctx context.Context, clients int, send func() traffic.Answer) (served int, s traffic.Stats) {
	var all sync.WaitGroup
	var mu sync.Mutex
	count := func(a traffic.Answer, took time.Duration) (pause time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		s.Requests++
		switch {
		case a.Failure() == nil:
			served++
			s.Slowest = max(s.Slowest, took)
		case a.Err == nil && a.Status == http.StatusServiceUnavailable && a.RetryAfter:
			s.Refused++
			s.Refusal = max(s.Refusal, took)
			return time.Second
		default:
			s.Failed++
		}
		return 0
	}
	for i := range clients {
		all.Go(func() {
			for pause := time.Duration(i) * time.Second / time.Duration(clients); traffic.Pause(ctx, pause) == nil; {
				sent := time.Now()
				pause = count(send(), time.Since(sent))
			}
		})
	}
	all.Wait()
	return served, s
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
	during := func(d time.Duration, clients int) (int, traffic.Stats) {
		lasts, end := context.WithTimeout(f.Context(), d)
		defer end()
		return crowd(lasts, clients, send)
	}
	during(2*time.Second, 64) // warm
	can, _ := during(2*time.Second, 64)
	can /= 2
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
	served, stats := during(lasts*time.Second, 4*inFlight)
	f.own = stats
	stop()
	watch.Wait()
	fixed(f)
	healthy := 0
	waitFor(f.T, recovery, "healthy after the overload", func() bool {
		for healthy = 0; healthy < 100 && send().Failure() == nil; healthy++ {
		}
		return healthy == 100
	})
	f.overloaded(served/lasts, can, before, memory)
	f.row.Note("100 served in a row %s later", traffic.Short(time.Since(f.fixed)))
	f.check(s.Kill())
}

// overloaded judges the results on a server that can serve can requests a second and served some.
func (f *fault) overloaded(served, can int, before int64, memory []int64) {
	// All clients have started by the second half.
	half, last := len(memory)/2, len(memory)*3/4
	early, late := slices.Max(memory[half:last]), slices.Max(memory[last:])
	f.row.Note("capacity %d/s; %d clients: %d/s served; memory %d MB before, %d, then %d",
		can, 4*inFlight, served, before>>20, early>>20, late>>20)
	// A starved garbage collector lets the heap overshoot, so the quarters of one run differ.
	if late > 2*early || late > serveMemory<<20 {
		f.Errorf("memory grows under overload: %d MB in the third quarter, %d MB in the last", early>>20, late>>20)
	}
	if served < can/4 { // the clients take most of the machine
		f.Errorf("of a capacity of %d/s, %d/s are left under overload", can, served)
	}
	if f.own.Refused == 0 {
		f.Errorf("there was no overload")
	}
	if f.own.Failed > 0 {
		f.Errorf("%d answers were neither 200 nor 503 with Retry-After", f.own.Failed)
	}
}
