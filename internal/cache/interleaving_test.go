package cache

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSlowReaderStoresNoOldRow(t *testing.T) {
	for name, level := range levels {
		for writes, other := range map[string]bool{"the reader": false, "another replica": true} {
			t.Run(name+", written by "+writes, func(t *testing.T) {
				t.Parallel()
				addr, db := server(t).Addr(), newDatabase()
				a, b := newReplica(t, addr, db, level), newReplica(t, addr, db, level)
				writer := a
				if other {
					writer = b
				}
				db.commit(1, 1)
				finish := a.slowRead(t, 1)
				writer.write(t, 1, 2)
				writer.wants(t, 1, 2)
				finish()
				writer.wants(t, 1, 2)
				a.eventuallyReads(t, 1, 2)
				b.eventuallyReads(t, 1, 2)
			})
		}
	}
}

// Without Redis, a read joins another read for at most half a second.
func TestOldReadIsNotJoined(t *testing.T) {
	for name, level := range levels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			r := newReplica(t, s.Addr(), db, level)
			must(t, s.Kill())
			db.commit(1, 1)
			r.slowRead(t, 1)
			db.commit(1, 2) // by another replica
			time.Sleep(shortLife)
			r.wants(t, 1, 2)
		})
	}
}

// If an event invalidates the row after Redis's reply and before its use, the reader may return the
// row, because its read began before, but must not keep it.
func TestRepliesThatAreOldWhenTheyAreUsed(t *testing.T) {
	for name, happens := range map[string]func(*testing.T, *replica, *replica){
		"this replica writes": func(t *testing.T, r, _ *replica) { r.write(t, 1, 2) },
		"the other replica writes": func(t *testing.T, r, other *replica) {
			seen := r.flightOf(1)
			other.write(t, 1, 2)
			eventually(t, "the message is received", func() bool { return r.flightOf(1) != seen })
		},
		"another level is adopted": func(t *testing.T, r, _ *replica) {
			r.db.commit(1, 2)
			r.adopt("another")
		},
		"another subscription": func(t *testing.T, r, _ *replica) {
			r.db.commit(1, 2)
			r.forgetShared(t, 1)
			r.resubscribed()
		},
		"the right ends": func(t *testing.T, r, _ *replica) {
			r.silence(true) // no heartbeat extends the right
			r.db.commit(1, 2)
		},
		"an invalidation is pending": func(t *testing.T, r, _ *replica) {
			r.db.commit(1, 2)
			r.owe(keyOf(1))
			r.forget(keyOf(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, db := server(t).Addr(), newDatabase()
			r, other := newReplica(t, addr, db, withLocal), newReplica(t, addr, db)
			hook := &afterReply{command: "get"}
			r.redis.AddHook(hook)
			db.commit(1, 1)
			other.stored(t, 1)
			hook.next(func() { happens(t, r, other) })
			eventually(t, "a read gets a reply", func() bool {
				r.forget(keyOf(1))
				r.version(t, 1)
				return hook.call.Load() == nil
			})
			r.wants(t, 1, 2)
		})
	}
}

// flightOf returns the read in flight of a row, or nil.
func (r *replica) flightOf(id int64) *read {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads[keyOf(id)]
}

// A reader whose lease has expired, because its process was paused, must not overwrite a newer row.
func TestFillWithoutItsLease(t *testing.T) {
	s, db := server(t), newDatabase()
	slow, quick := newReplica(t, s.Addr(), db, withLocal), newReplica(t, s.Addr(), db, withLocal)
	db.commit(1, 1)
	finish := slow.slowRead(t, 1)
	if err := s.Client(t).Del(t.Context(), prefix+keyOf(1)).Err(); err != nil { // it expires
		t.Fatal(err)
	}
	db.commit(1, 2)
	quick.stored(t, 1)
	finish()
	if stored, ok := quick.shared(t, keyOf(1)); !ok || stored.Version != 2 {
		t.Errorf("Redis has %+v, %v, want version 2", stored, ok)
	}
	if row, ok := slow.rows.GetIfPresent(keyOf(1)); ok && row.long {
		t.Error("a row that was read without a lease is kept for long")
	}
	slow.eventuallyReads(t, 1, 2)
}

// While a writer's invalidation is pending, another reader may store the old row in Redis. The
// writer never reads it.
func TestFillDuringAPendingInvalidation(t *testing.T) {
	s, db := server(t), newDatabase()
	reader, writer := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db, withLocal)
	db.commit(1, 1)
	finish := reader.slowRead(t, 1)
	writer.silence(true)
	writer.write(t, 1, 2)
	finish()
	writer.until.Store(int64(writer.clock() + time.Hour))
	writer.wants(t, 1, 2)
	must(t, writer.deliver(t.Context(), writer.owes()))
	writer.wants(t, 1, 2)
	reader.wants(t, 1, 2)
}

// Local rows of another level or subscription are not used, even if they are young.
func TestLocalRowsOfAnotherEra(t *testing.T) {
	for name, happens := range map[string]func(*testing.T, *replica){
		"subscription lost": func(t *testing.T, r *replica) {
			err := r.redis.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err()
			if err != nil {
				t.Fatal(err)
			}
		},
		"generation renewed by another process": func(t *testing.T, r *replica) {
			other := newReplica(t, r.redis.(*redis.Client).Options().Addr, newDatabase())
			must(t, other.renew(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase()
			r := newReplica(t, server(t).Addr(), db, withLocal)
			db.commit(1, 1)
			r.version(t, 1)
			before := r.era.Load()
			db.commit(1, 2) // without an invalidation
			happens(t, r)
			eventually(t, "another era began", func() bool { return r.era.Load() != before })
			r.forgetShared(t, 1)
			r.wants(t, 1, 2)
		})
	}
}

// forgetShared deletes a row in Redis without publishing.
func (r *replica) forgetShared(t *testing.T, id int64) {
	t.Helper()
	must(t, r.redis.Del(t.Context(), prefix+keyOf(id)).Err())
}

// The age of a local row counts from the start of its read. Only a long row is used after half a
// second, while the subscription is proven.
func TestLifeOfLocalRows(t *testing.T) {
	const now = time.Hour
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db, withLocal)
	r.silence(false)
	r.born = time.Now().Add(-now)
	for name, test := range map[string]struct {
		age, proof time.Duration
		long, want bool
	}{
		"young, unproven":         {shortLife / 2, -1, false, true},
		"half a second, unproven": {shortLife, -1, true, false},
		"half a second, proven":   {shortLife, now, true, true},
		"short, proven":           {shortLife, now, false, false},
		"old, proven":             {longLife, now, true, false},
	} {
		r.proven.Store(int64(now + test.proof))
		row := &read{era: r.era.Load(), started: now - test.age, long: test.long}
		if got := r.fresh(row); got != test.want {
			t.Errorf("%s: used %v, want %v", name, got, test.want)
		}
	}
}
