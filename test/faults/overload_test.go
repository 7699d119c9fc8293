//go:build faults

package faults

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"shares/test/traffic"
)

// inFlight is the default of SHARES_MAX_IN_FLIGHT.
const inFlight = 1024

// crowd sends one request after the other from each client, until ctx ends. The clients start within
// a second. A refused client sends its next request a second later, as Retry-After tells it to. It
// adds the answers to s.
func crowd(ctx context.Context, clients int, s *traffic.Stats, send func() traffic.Answer) (served int) {
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
	return served
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
	during := func(d time.Duration, clients int, stats *traffic.Stats) int {
		lasts, end := context.WithTimeout(f.Context(), d)
		defer end()
		return crowd(lasts, clients, stats, send)
	}
	var calm traffic.Stats
	during(2*time.Second, 64, &calm) // warm
	can := during(2*time.Second, 64, &calm) / 2
	before, err := s.Memory()
	f.check(err)
	most := before
	watching, stop := context.WithCancel(f.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		for traffic.Pause(watching, 100*time.Millisecond) == nil {
			if now, err := s.Memory(); err == nil {
				most = max(most, now)
			}
		}
	})
	const half = 4
	served := during(half*time.Second, 4*inFlight, &f.own)
	early := s.metric(f.T, heapGoal)
	served += during(half*time.Second, 4*inFlight, &f.own)
	late := s.metric(f.T, heapGoal)
	stop()
	watch.Wait()
	fixed(f)
	healthy := 0
	waitFor(f.T, recovery, "healthy after the overload", func() bool {
		for healthy = 0; healthy < 100 && send().Failure() == nil; healthy++ {
		}
		return healthy == 100
	})
	f.overloaded(served/(2*half), can, before, most, int64(early), int64(late))
	f.row.Note("100 served in a row %s later", traffic.Short(time.Since(f.fixed)))
	f.check(s.Kill())
}

// heapGoal is twice the live heap at the last collection. Unlike the memory of the process, it does
// not depend on how much a starved collector lets the heap overshoot.
const heapGoal = "go_memstats_next_gc_bytes"

// overloaded judges the results on a server that can serve can requests a second and served some.
// early and late are the heap's goals after each half.
func (f *fault) overloaded(served, can int, before, most, early, late int64) {
	f.row.Note("capacity %d/s; %d clients: %d/s served; memory %d MB before, at most %d; heap goal %d MB, then %d",
		can, 4*inFlight, served, before>>20, most>>20, early>>20, late>>20)
	if late > early+early/4+(16<<20) {
		f.Errorf("the heap grows under overload: its goal is %d MB after the first half, %d MB at the end", early>>20, late>>20)
	}
	if most > serveMemory<<20 {
		f.Errorf("memory of %d MB, want at most the %d MiB of the manifests", most>>20, serveMemory)
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
