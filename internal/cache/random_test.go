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

// history holds the acknowledged writes of one row.
type history struct {
	mu    sync.Mutex
	next  int64
	acked []ack
}

type ack struct {
	version int64
	at      time.Time
	by      *replica
}

// behind returns how long before start a version newer than version was acknowledged, by any
// replica and by the reader itself. A read started at start and returned version.
func (h *history) behind(version int64, start time.Time, reader *replica) (any, own time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.acked {
		if late := start.Sub(a.at); a.version > version {
			any = max(any, late)
			if a.by == reader {
				own = max(own, late)
			}
		}
	}
	return any, own
}

// disturbances are the faults of Redis during the test.
var disturbances = map[string]func(context.Context, *testing.T, *testenv.RedisServer){
	"redis up": nil,
	"redis down at times": func(ctx context.Context, t *testing.T, s *testenv.RedisServer) {
		for i := 0; ctx.Err() == nil; i++ {
			leave, back := s.Pause, s.Resume
			if i%4 == 1 { // more restarts would make the replicas back off
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
	"redis flushed": func(ctx context.Context, t *testing.T, s *testenv.RedisServer) {
		c := s.Client(t)
		for ctx.Err() == nil {
			time.Sleep(rand.N(200 * time.Millisecond))
			c.FlushAll(context.WithoutCancel(ctx))
			time.Sleep(rand.N(200 * time.Millisecond))
			c.ClientKillByFilter(context.WithoutCancel(ctx), "TYPE", "pubsub")
		}
	},
}

// Replicas with and without a local level read and write at random. No read returns a row that an
// acknowledged write replaced more than a second before the read began, or at all if the write was
// on the same replica.
func TestRandom(t *testing.T) {
	for name, disturb := range disturbances {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const rows = 4
			s, db := server(t), newDatabase()
			var replicas []*replica
			for _, level := range levels {
				for range 2 {
					replicas = append(replicas, newReplica(t, s.Addr(), db, level))
				}
			}
			var histories [rows]history
			for id := range int64(rows) {
				db.commit(id, 0)
			}
			db.onRead(func() { time.Sleep(rand.N(3 * time.Millisecond)) })

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			var reads, writes atomic.Int64
			if disturb != nil {
				wg.Go(func() { disturb(ctx, t, s) })
			}
			write := func(r *replica) {
				id := rand.Int64N(rows)
				h := &histories[id]
				// Commits are in the order of versions; acknowledgements may not be.
				h.mu.Lock()
				h.next++
				version := h.next
				db.commit(id, version)
				h.mu.Unlock()
				if err := r.DelCtx(ctx, keyOf(id)); err != nil {
					t.Error(err)
				}
				h.mu.Lock()
				h.acked = append(h.acked, ack{version, time.Now(), r})
				h.mu.Unlock()
				writes.Add(1)
			}
			read := func(r *replica) {
				id, start := rand.Int64N(rows), time.Now()
				row, err := r.find(context.WithoutCancel(ctx), id)
				any, own := histories[id].behind(row.Version, start, r)
				if err != nil || any > time.Second || own > 0 {
					t.Errorf("%v; a read was behind by %v, behind its own replica by %v", err, any, own)
				}
				reads.Add(1)
			}
			repeat := func(pause time.Duration, f func(*replica), r *replica) {
				wg.Go(func() {
					for ; ctx.Err() == nil; time.Sleep(rand.N(pause)) {
						f(r)
					}
				})
			}
			for _, r := range replicas {
				repeat(30*time.Millisecond, write, r)
				for range 3 {
					repeat(2*time.Millisecond, read, r)
				}
			}
			time.Sleep(4 * time.Second)
			eventually(t, "there are enough reads and writes", func() bool {
				return reads.Load() >= 500 && writes.Load() >= 50
			})
			stop()
			wg.Wait()
			t.Logf("%d reads, %d writes", reads.Load(), writes.Load())
		})
	}
}
