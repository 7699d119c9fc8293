package cache

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSlowReaderStoresNoOldRow(t *testing.T) {
	for name, level := range levels {
		for writes, other := range map[string]bool{"itself": false, "the other": true} {
			t.Run(name+", written by "+writes, func(t *testing.T) {
				t.Parallel()
				addr, db := server(t).Addr(), newDatabase()
				a, b := newReplica(t, addr, db, level), newReplica(t, addr, db, level)
				a.up(t)
				b.up(t)
				writer := a
				if other {
					writer = b
				}
				db.commit(1, 1)
				finish := a.slowRead(t, 1)
				writer.write(t, 1, 2)
				if got := writer.version(t, 1); got != 2 {
					t.Errorf("the writer reads version %d while the older read goes on", got)
				}
				finish()
				if got := writer.version(t, 1); got != 2 {
					t.Errorf("the writer reads version %d when the older read has ended", got)
				}
				a.eventuallyReads(t, 1, 2)
				b.eventuallyReads(t, 1, 2)
			})
		}
	}
}

// A row that no message can invalidate is read by the next caller at most half a second later.
func TestOldReadIsNotJoined(t *testing.T) {
	for name, level := range levels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			r := newReplica(t, s.Addr(), db, level)
			r.up(t)
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			db.commit(1, 1)
			r.slowRead(t, 1)
			db.commit(1, 2) // by another replica
			time.Sleep(shortLife)
			if got := r.version(t, 1); got != 2 {
				t.Errorf("version %d", got)
			}
		})
	}
}

// What happens between Redis's reply and its use: the reader may return the row, because it began
// before, and must not keep it.
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
			r.up(t)
			other.up(t)
			db.commit(1, 1)
			other.stored(t, 1)
			hook.next(func() { happens(t, r, other) })
			r.version(t, 1)
			if got := r.version(t, 1); got != 2 {
				t.Errorf("version %d: the reply was kept", got)
			}
		})
	}
}

// flightOf returns the read under way of a row, or nil.
func (r *replica) flightOf(id int64) *read {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads[keyOf(id)]
}

// A right that ends while Redis is asked does not allow to use the reply.
func TestRightEndsBeforeTheReply(t *testing.T) {
	addr, db := server(t).Addr(), newDatabase()
	r := newReplica(t, addr, db)
	hook := &afterReply{command: "get"}
	r.redis.AddHook(hook)
	r.up(t)
	db.commit(1, 1)
	r.stored(t, 1)
	db.commit(1, 2)
	r.silence(false) // no heartbeat brings the right back
	hook.next(func() { r.until.Store(0) })
	if got := r.version(t, 1); got != 2 {
		t.Errorf("version %d", got)
	}
}

// A reader whose lease ended, because its process stood still, must not overwrite what others
// stored since.
func TestFillWithoutItsLease(t *testing.T) {
	s, db := server(t), newDatabase()
	slow, quick := newReplica(t, s.Addr(), db, withLocal), newReplica(t, s.Addr(), db, withLocal)
	slow.up(t)
	quick.up(t)
	db.commit(1, 1)
	finish := slow.slowRead(t, 1)
	if err := s.Client(t).Del(t.Context(), prefix+keyOf(1)).Err(); err != nil { // it expires
		t.Fatal(err)
	}
	db.commit(1, 2)
	quick.stored(t, 1)
	finish()
	if stored, ok := quick.shared(t, keyOf(1)); !ok || stored.Version != 2 {
		t.Errorf("Redis has %+v, %v", stored, ok)
	}
	if row, ok := slow.rows.GetIfPresent(keyOf(1)); ok && row.long {
		t.Error("what was read without a lease is kept for long")
	}
	slow.eventuallyReads(t, 1, 2)
}

// A reader that fills while a writer's invalidation waits stores an old row until that is
// delivered. The writer itself never reads it.
func TestFillDuringAPendingInvalidation(t *testing.T) {
	s, db := server(t), newDatabase()
	reader, writer := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db, withLocal)
	reader.up(t)
	writer.up(t)
	db.commit(1, 1)
	finish := reader.slowRead(t, 1)
	writer.silence(true) // it is cut off
	writer.write(t, 1, 2)
	finish()
	writer.until.Store(int64(writer.clock() + time.Hour))
	if got := writer.version(t, 1); got != 2 {
		t.Errorf("the writer reads version %d", got)
	}
	if err := writer.deliver(t.Context(), writer.owes()); err != nil {
		t.Fatal(err)
	}
	if got := writer.version(t, 1); got != 2 {
		t.Errorf("the writer reads version %d after the delivery", got)
	}
	if got := reader.version(t, 1); got != 2 {
		t.Errorf("the reader reads version %d after the delivery", got)
	}
}

// Local rows that began under another level or subscription are not used, however young.
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
			if err := other.renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase()
			r := newReplica(t, server(t).Addr(), db, withLocal)
			r.up(t)
			db.commit(1, 1)
			r.version(t, 1)
			before := r.era.Load()
			db.commit(1, 2) // by a process that could tell nobody
			happens(t, r)
			eventually(t, "another era began", func() bool { return r.era.Load() != before })
			r.forgetShared(t, 1)
			if got := r.version(t, 1); got != 2 {
				t.Errorf("version %d", got)
			}
		})
	}
}

// forgetShared deletes a row in Redis without a message.
func (r *replica) forgetShared(t *testing.T, id int64) {
	t.Helper()
	if err := r.redis.Del(t.Context(), prefix+keyOf(id)).Err(); err != nil {
		t.Fatal(err)
	}
}

// The age of a local row counts from the start of its read; only a row that came from the shared
// level or was stored there lives on while the subscription is proven.
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
