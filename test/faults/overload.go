package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"shares/test/traffic"
)

// inFlight is SHARES_MAX_IN_FLIGHT as it is by default.
const inFlight = 1024

// overload has a replica of its own, without rate limits: first as many clients
// as it serves best, to learn what it can serve, and then four times as many as
// it lets in at once. They write, which is the dearest request.
func overload(ctx context.Context, w *world, r *report) (_ time.Time, err error) {
	servers, err := w.startServers(1, "serve", map[string]string{"SHARES_RATE_LIMIT": "off"})
	if err != nil {
		return time.Time{}, err
	}
	s := servers[0]
	defer func() { err = errors.Join(err, s.Kill()) }()
	if err := s.waitReady(ctx); err != nil {
		return time.Time{}, err
	}
	// The users' fields that the ledger does not look at.
	var n atomic.Int64
	send := func() traffic.Answer {
		i := n.Add(1)
		who := w.people.Writers[i%writers]
		return s.Post(ctx, "update_user_info", who.Session(), map[string]string{"avatarURL": fmt.Sprintf("https://a.example/%d", i)})
	}

	const most = 64
	if _, err := crowd(ctx, most, time.Second, send); err != nil { // warm
		return time.Time{}, err
	}
	served, err := crowd(ctx, most, 2*time.Second, send)
	if err != nil {
		return time.Time{}, err
	}
	can := served / 2
	before, err := s.Memory()
	if err != nil {
		return time.Time{}, err
	}

	// Four times as many clients as are let in at once. Who is refused comes
	// again when the refusal says so, a second later.
	var mu sync.Mutex
	var took, refusals []time.Duration
	var other int
	var memory []int64
	var clients sync.WaitGroup
	overloading, relieve := context.WithCancel(ctx)
	defer relieve()
	for i := range 4 * inFlight {
		clients.Go(func() {
			// They do not all come in the same instant.
			if traffic.Pause(overloading, time.Duration(i)*time.Second/(4*inFlight)) != nil {
				return
			}
			for overloading.Err() == nil {
				begun := time.Now()
				a := send()
				d := time.Since(begun)
				mu.Lock()
				isRefusal := a.Err == nil && a.Status == http.StatusServiceUnavailable && a.RetryAfter
				switch {
				case a.Failure() == nil:
					took = append(took, d)
				case isRefusal:
					refusals = append(refusals, d)
				default:
					if other++; other == 1 {
						r.breaks("under overload: %v", a.Failure())
					}
				}
				mu.Unlock()
				if isRefusal && traffic.Pause(overloading, time.Second) != nil {
					return
				}
			}
		})
	}
	const lasts = 8 * time.Second
	start := time.Now()
	for time.Since(start) < lasts {
		now, err := s.Memory()
		if err != nil {
			return time.Time{}, err
		}
		memory = append(memory, now)
		if err := traffic.Pause(ctx, 100*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
	relieve()
	clients.Wait()
	seconds := int(time.Since(start).Seconds())

	mended := time.Now()
	healthy := 0
	for healthy < 100 && time.Since(mended) < recovery {
		if a := send(); a.Failure() != nil {
			healthy = 0
		} else {
			healthy++
		}
	}
	again := time.Since(mended)

	slices.Sort(took)
	slices.Sort(refusals)
	// All clients are there by the second half.
	half, last := len(memory)/2, len(memory)*3/4
	early, late := slices.Max(memory[half:last]), slices.Max(memory[last:])
	r.requests, r.refused, r.failures = len(took)+len(refusals)+other, len(refusals), other
	r.slowest, r.refusal = percentile(took, 100), percentile(refusals, 100)
	r.note("it can serve %d/s; of %d clients: %d/s served (median %s, p99 %s), %d/s refused (median %s, p99 %s); memory %d MB before, %d, then %d; 100 served in a row %s later",
		can, 4*inFlight, len(took)/seconds, short(percentile(took, 50)), short(percentile(took, 99)),
		len(refusals)/seconds, short(percentile(refusals, 50)), short(percentile(refusals, 99)), before>>20, early>>20, late>>20, short(again))
	if late > early+early/4+(16<<20) {
		r.breaks("memory grows under overload: %d MB in the third quarter, %d MB in the last", early>>20, late>>20)
	}
	if healthy < 100 {
		r.breaks("not well after an overload")
	}
	if len(took)/seconds < can/4 { // the clients have had most of the machine
		r.breaks("of %d/s that it can serve, %d/s are left under overload", can, len(took)/seconds)
	}
	if len(refusals) == 0 {
		r.breaks("no overload came about")
	}
	if other > 0 {
		r.breaks("%d answers were neither 200 nor 503 with Retry-After", other)
	}
	return mended, nil
}

// crowd has clients send one request after the other, and returns how many were
// served.
func crowd(ctx context.Context, clients int, d time.Duration, send func() traffic.Answer) (int, error) {
	var served atomic.Int64
	var bad atomic.Pointer[error]
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if err := send().Failure(); err != nil {
					bad.Store(&err)
					continue
				}
				served.Add(1)
			}
		})
	}
	all.Wait()
	if served.Load() == 0 {
		if err := bad.Load(); err != nil {
			return 0, *err
		}
		return 0, errors.New("nothing was served")
	}
	return int(served.Load()), nil
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}
