package cache

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// aside is plain cache-aside: what most services do, and what goctl's own cache does.
type aside struct {
	redis redis.UniversalClient
	db    *database
}

func (a aside) read(ctx context.Context, id int64) (*user, error) {
	text, err := a.redis.Get(ctx, keyOf(id)).Result()
	if err == nil {
		var row user
		return &row, json.Unmarshal([]byte(text), &row)
	}
	if !errors.Is(err, redis.Nil) {
		return nil, err
	}
	row, err := a.db.find(ctx, id)
	if err != nil {
		return nil, err
	}
	text2, err := json.Marshal(row)
	if err != nil {
		return nil, err
	}
	return row, a.redis.Set(ctx, keyOf(id), text2, time.Minute).Err()
}

func (a aside) write(ctx context.Context, id, v int64) error {
	a.db.commit(id, v)
	return a.redis.Del(ctx, keyOf(id)).Err()
}

// The interleaving that breaks cache-aside: a reader misses and reads the old row, then is slow; a writer commits, invalidates and
// is acknowledged; the reader stores the old row. Whoever reads after that must still get the new one.
func TestSlowReaderDoesNotBringTheOldRowBack(t *testing.T) {
	type reader func(context.Context, int64) (*user, error)
	type setup struct {
		slow  reader // of the replica that is slow
		later []reader
		write func(context.Context, int64, int64) error
		stale bool // what happens
	}
	replicas := func(t *testing.T, addr string, db *database) (a, b *replica) {
		a, b = newReplica(t, addr, db), newReplica(t, addr, db)
		a.up(t)
		b.up(t)
		return a, b
	}
	for name, build := range map[string]func(*testing.T, string, *database) setup{
		"plain cache-aside": func(t *testing.T, addr string, db *database) setup {
			a := aside{client(t, addr), db}
			return setup{a.read, []reader{a.read}, a.write, true}
		},
		"redis, one replica": func(t *testing.T, addr string, db *database) setup {
			a, _ := replicas(t, addr, db)
			return setup{a.shared, []reader{a.shared}, a.write, false}
		},
		"redis, the other writes": func(t *testing.T, addr string, db *database) setup {
			a, b := replicas(t, addr, db)
			return setup{a.shared, []reader{b.shared, a.shared}, b.write, false}
		},
		"memory, one replica": func(t *testing.T, addr string, db *database) setup {
			a, _ := replicas(t, addr, db)
			return setup{a.memory, []reader{a.memory}, a.write, false}
		},
		"memory, the other writes": func(t *testing.T, addr string, db *database) setup {
			a, b := replicas(t, addr, db)
			return setup{a.memory, []reader{b.memory, a.memory}, b.write, false}
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase()
			s := build(t, server(t).Addr(), db)
			db.commit(1, 1)
			arrived, release := db.holdNext()
			defer release()

			var slow sync.WaitGroup
			slow.Go(func() {
				if row, err := s.slow(t.Context(), 1); err != nil || row.Version != 1 {
					t.Errorf("the slow reader got %v, %v; it began before the write and may have the old row", row, err)
				}
			})
			<-arrived
			if err := s.write(t.Context(), 1, 2); err != nil {
				t.Fatal(err)
			}
			// A published message needs a moment; a second is the promise, and this interleaving gets no more of it.
			time.Sleep(100 * time.Millisecond)
			release()
			slow.Wait()

			for i, read := range s.later {
				if got := version(t, read, 1); (got == 1) != s.stale {
					t.Errorf("reader %d: version %d, stale wanted: %v", i, got, s.stale)
				}
			}
		})
	}
}

// A reader that starts after the acknowledgement must not be handed the result of a read that began before it.
func TestReaderAfterTheWriteDoesNotJoinAnOlderRead(t *testing.T) {
	for name, through := range levels {
		t.Run(name, func(t *testing.T) {
			db := newDatabase()
			r := newReplica(t, server(t).Addr(), db)
			r.up(t)
			read := through(r)
			db.commit(1, 1)
			arrived, release := db.holdNext()
			defer release()
			var slow sync.WaitGroup
			slow.Go(func() { _, _ = read(t.Context(), 1) })
			<-arrived
			if err := r.write(t.Context(), 1, 2); err != nil {
				t.Fatal(err)
			}
			if got := version(t, read, 1); got != 2 {
				t.Errorf("version %d", got)
			}
			release()
			slow.Wait()
			if got := version(t, read, 1); got != 2 {
				t.Errorf("version %d when the older read had ended", got)
			}
		})
	}
}

// Nor, when nobody could tell this process of the write, the result of a read that began long ago.
func TestOldReadIsNotJoined(t *testing.T) {
	for name, through := range levels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			r := newReplica(t, s.Addr(), db)
			r.up(t)
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			read := through(r)
			db.commit(1, 1)
			arrived, release := db.holdNext()
			defer release()
			var slow sync.WaitGroup
			slow.Go(func() { _, _ = read(context.Background(), 1) })
			<-arrived
			db.commit(1, 2) // by another replica, unheard of
			time.Sleep(blind)
			if got := version(t, read, 1); got != 2 {
				t.Errorf("version %d", got)
			}
			release()
			slow.Wait()
		})
	}
}
