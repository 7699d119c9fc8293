package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shares/internal/testenv"
)

// history checks reads against acknowledged writes: the versions of one row, and when each was acknowledged.
type history struct {
	mu    sync.Mutex
	next  int64
	acked []ack
}

type ack struct {
	version int64
	at      time.Time
}

// behind returns how long before the read that started at start, and returned version, a newer version had been acknowledged.
func (h *history) behind(version int64, start time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var longest time.Duration
	for _, a := range h.acked {
		if a.version > version && start.After(a.at) {
			longest = max(longest, start.Sub(a.at))
		}
	}
	return longest
}

// Many readers and writers at random, on two replicas, a slow database, and a Redis that stays, or goes and comes. No read may
// return what was overwritten, and acknowledged, more than a second before it began.
func TestRandom(t *testing.T) {
	for name, disturb := range map[string]func(context.Context, *testing.T, *testenv.RedisServer){
		"redis up": nil,
		"redis away now and then": func(ctx context.Context, t *testing.T, s *testenv.RedisServer) {
			for i := 0; ctx.Err() == nil; i++ {
				leave, back := s.Pause, s.Resume
				if i%2 == 1 {
					leave, back = s.Kill, s.Start
				}
				time.Sleep(rand.N(400 * time.Millisecond))
				if err := leave(); err != nil {
					t.Error(err)
				}
				time.Sleep(rand.N(900 * time.Millisecond))
				if err := back(); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const rows = 4
			s, db := server(t), newDatabase()
			replicas := []*replica{newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)}
			for _, r := range replicas {
				r.up(t)
			}
			var histories [rows]history
			for id := range int64(rows) {
				db.commit(id, 0)
			}
			db.onRead(func() { time.Sleep(rand.N(3 * time.Millisecond)) })

			ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
			defer stop()
			var (
				wg            sync.WaitGroup
				reads, writes atomic.Int64
				worst         [2]atomic.Int64 // for redis, memory
			)
			if disturb != nil {
				wg.Go(func() { disturb(ctx, t, s) })
			}
			for _, r := range replicas {
				for range 2 {
					wg.Go(func() {
						for ctx.Err() == nil {
							id := rand.Int64N(rows)
							h := &histories[id]
							// Commits are in order of their versions, acknowledgements need not be.
							h.mu.Lock()
							h.next++
							v := h.next
							db.commit(id, v)
							h.mu.Unlock()
							if err := r.DelCtx(ctx, keyOf(id)); err != nil {
								t.Error(err)
							}
							h.mu.Lock()
							h.acked = append(h.acked, ack{v, time.Now()})
							h.mu.Unlock()
							writes.Add(1)
							time.Sleep(rand.N(30 * time.Millisecond))
						}
					})
				}
				for i, read := range []func(context.Context, int64) (*user, error){r.shared, r.memory} {
					for range 4 {
						wg.Go(func() {
							for ctx.Err() == nil {
								id := rand.Int64N(rows)
								start := time.Now()
								row, err := read(context.WithoutCancel(ctx), id)
								if err != nil {
									t.Error(err)
									return
								}
								behind := int64(histories[id].behind(row.Version, start))
								for m := worst[i].Load(); behind > m && !worst[i].CompareAndSwap(m, behind); m = worst[i].Load() {
								}
								reads.Add(1)
								time.Sleep(rand.N(2 * time.Millisecond))
							}
						})
					}
				}
			}
			wg.Wait()
			redis, memory := time.Duration(worst[0].Load()), time.Duration(worst[1].Load())
			t.Logf("%d reads, %d writes; most behind through redis %v, through memory %v", reads.Load(), writes.Load(), redis, memory)
			if redis > time.Second || memory > time.Second {
				t.Errorf("a read was behind by %v through redis, %v through memory", redis, memory)
			}
			if reads.Load() < 1000 || writes.Load() < 100 {
				t.Error("too little happened to show anything")
			}
		})
	}
}
