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
)

// overload has a replica of its own, without rate limits: first many clients
// that wait for each answer, to learn what it can serve, and then four times as
// many requests a second, whoever waits. Those are writes, the dearest request.
func overload(ctx context.Context, w *world, r *report) (_ time.Time, err error) {
	servers, err := w.startServers(1, "serve", map[string]string{"SHARES_RATE_LIMIT": "off"})
	if err != nil {
		return time.Time{}, err
	}
	s := servers[0]
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.waitReady(ctx); err != nil {
		return time.Time{}, err
	}
	// The users' fields that the ledger does not look at.
	var n atomic.Int64
	send := func() answer {
		i := n.Add(1)
		who := w.people.writers[i%writers]
		return s.post(ctx, "weixin.update_user_info", who.session, map[string]string{"avatarURL": fmt.Sprintf("https://a.example/%d", i)})
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
	before, err := s.memory()
	if err != nil {
		return time.Time{}, err
	}

	var mu sync.Mutex
	var took, refusals []time.Duration
	var other int
	var sending sync.WaitGroup
	var memory []int64
	const lasts = 6 * time.Second
	start := time.Now()
	for sent := 0; time.Since(start) < lasts; {
		for due := int(time.Since(start).Seconds() * float64(4*can)); sent < due; sent++ {
			sending.Go(func() {
				begun := time.Now()
				a := send()
				d := time.Since(begun)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case a.failure() == nil:
					took = append(took, d)
				case a.status == http.StatusServiceUnavailable && a.retryAfter:
					refusals = append(refusals, d)
				default:
					if other++; other == 1 {
						r.breaks("under overload: %v", a.failure())
					}
				}
			})
		}
		if want := int(time.Since(start) / (100 * time.Millisecond)); len(memory) < want {
			now, err := s.memory()
			if err != nil {
				return time.Time{}, err
			}
			memory = append(memory, now)
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
	sending.Wait()

	mended := time.Now()
	healthy := 0
	for healthy < 100 && time.Since(mended) < recovery {
		if a := send(); a.failure() != nil {
			healthy = 0
		} else {
			healthy++
		}
	}
	again := time.Since(mended)

	slices.Sort(took)
	slices.Sort(refusals)
	half := len(memory) / 2
	early, late := slices.Max(memory[:half]), slices.Max(memory[half:])
	r.note("can serve %d/s; at %d/s: %d/s served (p99 %s), %d/s refused (p99 %s), %d other; memory %d → %d → %d MB; 100 served in a row %s later",
		can, 4*can, len(took)/int(lasts.Seconds()), short(percentile(took, 99)),
		len(refusals)/int(lasts.Seconds()), short(percentile(refusals, 99)), other, before>>20, early>>20, late>>20, short(again))
	if late > early+early/4+(16<<20) {
		r.breaks("memory grows under overload: %d MB in the first half, %d MB in the second", early>>20, late>>20)
	}
	if healthy < 100 {
		r.breaks("not well after an overload")
	}
	if len(took)/int(lasts.Seconds()) < can/3 {
		r.breaks("of %d/s that it can serve, %d/s are left under overload", can, len(took)/int(lasts.Seconds()))
	}
	if other > 0 {
		r.breaks("%d answers were neither 200 nor 503 with Retry-After", other)
	}
	return time.Now(), nil
}

// crowd has clients send one request after the other, and returns how many were
// served.
func crowd(ctx context.Context, clients int, d time.Duration, send func() answer) (int, error) {
	var served atomic.Int64
	var bad atomic.Pointer[error]
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if err := send().failure(); err != nil {
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
