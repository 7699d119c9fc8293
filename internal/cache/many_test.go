package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"shares/internal/batch"
)

// commands counts what is sent to Redis, by name; what a pipeline holds counts as one "pipeline".
type commands struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *commands) count(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[name]++
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		name := cmd.Name()
		if args := cmd.Args(); name == "evalsha" {
			name = map[any]string{leaseScript.Hash(): "lease", fillScript.Hash(): "fill"}[args[1]]
		}
		c.count(name)
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if name := cmds[0].Name(); name == "get" || name == "evalsha" { // not a new connection that introduces itself
			c.count("pipeline")
		}
		return next(ctx, cmds)
	}
}

// Some are in Redis, some only in the database, some nowhere, and one is asked for twice.
func TestTakeMany(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, db *database) *replica{
		"one redis": func(t *testing.T, db *database) *replica { return newReplica(t, server(t).Addr(), db) },
		"cluster":   func(t *testing.T, db *database) *replica { return newReplica(t, cluster(t), db, onCluster(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase()
			r := start(t, db)
			r.up(t)
			for id := range int64(8) {
				db.commit(id, 10+id)
			}
			for id := range int64(4) {
				eventually(t, "the row is in redis", func() bool {
					version(t, r.shared, id)
					return r.lookup(t.Context(), []string{keyOf(id)}, false)[0].state == hit
				})
			}
			ids := []int64{0, 4, 100, 1, 5, 4, 101}
			want := []int64{10, 14, 0, 11, 15, 14, 0} // versions
			queries := db.count()
			read := func() {
				t.Helper()
				rows, errs := all(t.Context(), r.many, ids)
				for i := range ids {
					if want[i] == 0 && !r.IsNotFound(errs[i]) || want[i] > 0 && (errs[i] != nil || rows[i].Version != want[i]) {
						t.Errorf("row %d: %+v, %v", ids[i], rows[i], errs[i])
					}
				}
			}
			read()
			if got := db.count() - queries; got != 5 {
				t.Errorf("%d rows were read from the database, want 5", got)
			}
			eventually(t, "the fills are done", func() bool {
				found := r.lookup(t.Context(), []string{keyOf(4), keyOf(5)}, false)
				return found[0].state == hit && found[1].state == hit
			})
			queries = db.count()
			read()
			if got := db.count() - queries; got != 2 {
				t.Errorf("%d rows were read from the database again, want the 2 that do not exist", got)
			}
			// Who makes them later is seen.
			db.commit(100, 7)
			want[2] = 7
			read()
		})
	}
}

// However many keys, it is a round trip to look, one for the leases, one query, and one for the fills.
func TestTakeManyIsFewRoundTrips(t *testing.T) {
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db)
	r.up(t)
	ids := make([]int64, 50)
	for i := range ids {
		ids[i] = int64(i)
		db.commit(ids[i], 1)
	}
	version(t, r.shared, 0) // Redis has the scripts from here on
	seen := &commands{counts: map[string]int{}}
	r.redis.(*redis.Client).AddHook(seen)
	if _, errs := all(t.Context(), r.many, ids); slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		t.Fatal(errs)
	}
	looks := 0
	eventually(t, "the fills are done", func() bool {
		looks++
		return r.lookup(t.Context(), []string{keyOf(49)}, false)[0].state == hit
	})
	seen.mu.Lock()
	defer seen.mu.Unlock()
	seen.counts["mget"] -= looks
	for name, want := range map[string]int{"mget": 1, "lease": 1, "fill": 1, "pipeline": 0} {
		if got := seen.counts[name]; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// A query that fails fails all that it was for, and gives their leases back.
func TestTakeManyWhoseQueryFails(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	version(t, r.shared, 1)
	boom := errors.New("boom")
	keys := []string{keyOf(1), keyOf(2), keyOf(3)}
	var mu sync.Mutex
	errs := map[int]error{}
	var wg sync.WaitGroup
	wg.Add(len(keys))
	r.TakeMany(t.Context(), keys, []any{new(user), new(user), new(user)}, func(_ context.Context, missing []string, vals []any) []error {
		if diff := cmp.Diff(keys[1:], missing); diff != "" || len(vals) != 2 {
			t.Errorf("%d vals, missing (-want +got):\n%s", len(vals), diff)
		}
		return []error{boom, boom}
	}, func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		errs[i] = err
		wg.Done()
	})
	wg.Wait()
	if errs[0] != nil || !errors.Is(errs[1], boom) || !errors.Is(errs[2], boom) {
		t.Errorf("%v", errs)
	}
	eventually(t, "the leases were given back", func() bool {
		return s.Client(t).Exists(t.Context(), r.key(keys[1]), r.key(keys[2])).Val() == 0
	})
}

// What Redis has is there at once, whatever becomes of the query for the others; also of those that come later, while many queries are stuck.
func TestWhatRedisHasWaitsForNoQuery(t *testing.T) {
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db)
	r.up(t)
	db.commit(1, 1)
	version(t, r.shared, 1)
	stuck := make(chan struct{})
	db.onRead(func() { <-stuck })
	var wg sync.WaitGroup
	for id := range int64(4 * mostReads) {
		wg.Go(func() {
			_, _ = r.memory(t.Context(), 1000+id)
		})
	}
	eventually(t, "queries are stuck", func() bool { return db.count() > readsAtOnce })
	hit := make(chan error, 1)
	r.many(t.Context(), []int64{2000, 1}, func(i int, row *user, err error) {
		if i == 1 {
			hit <- err
		}
	})
	for name, got := range map[string]<-chan error{
		"beside a miss": hit,
		"by itself": func() <-chan error {
			got := make(chan error, 1)
			go func() { _, err := r.memory(t.Context(), 1); got <- err }()
			return got
		}(),
	} {
		select {
		case err := <-got:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Second):
			t.Errorf("%s: waits", name)
		}
	}
	close(stuck)
	wg.Wait()
}

// A panic on a goroutine of nobody's is an error of those who wait.
func TestPanickingQueryOfMany(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.up(t)
	done := make(chan error, 1)
	r.TakeMany(t.Context(), []string{keyOf(1)}, []any{new(user)}, func(context.Context, []string, []any) []error { panic("broken") },
		func(_ int, err error) { done <- err })
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// A row that is voided between its lease and its fill is not stored, while the others of its batch are.
func TestTakeManyStoresNothingVoided(t *testing.T) {
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db)
	r.up(t)
	for id := range int64(3) {
		db.commit(id, 1)
	}
	arrived, release := db.holdNext()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = all(t.Context(), r.many, []int64{0, 1, 2})
	}()
	<-arrived
	if err := r.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	release()
	<-done
	eventually(t, "the others are stored", func() bool {
		found := r.lookup(t.Context(), []string{keyOf(0), keyOf(2)}, false)
		return found[0].state == hit && found[1].state == hit
	})
	if f := r.lookup(t.Context(), []string{keyOf(1)}, false)[0]; f.state == hit {
		t.Errorf("stored %s", f.row)
	}
}

// While reads are under way, those who come go together in the next one; a row that fails there is nobody else's trouble.
func TestLocalReadsTogether(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	var reads, longest atomic.Int64
	gate := make(chan struct{})
	odd := errors.New("odd")
	read := func(_ context.Context, ids []int64, answer func(int, *user, error)) {
		reads.Add(1)
		longest.Store(max(longest.Load(), int64(len(ids))))
		<-gate
		for i, id := range ids {
			if id%2 == 1 {
				answer(i, nil, odd)
			} else {
				answer(i, &user{ID: id, Version: id}, nil)
			}
		}
	}
	var wg sync.WaitGroup
	take := func(id int64) {
		wg.Go(func() {
			row, err := r.local.Take(t.Context(), id, read)
			if id%2 == 1 && !errors.Is(err, odd) || id%2 == 0 && (err != nil || row.ID != id) {
				t.Errorf("row %d: %+v, %v", id, row, err)
			}
		})
	}
	r.local.batches = batch.New(readsAtOnce, readsAtOnce, readLength, r.local.run) // no more of them, however long they take
	for id := range int64(readsAtOnce) {
		take(id)
		eventually(t, fmt.Sprintf("read %d is under way", id), func() bool { return reads.Load() == id+1 })
	}
	const waiting = readLength + 10
	for id := range int64(waiting) {
		take(1000 + id)
	}
	eventually(t, "the others wait", func() bool { return r.local.batches.Waiting() == waiting })
	close(gate)
	wg.Wait()
	if got := reads.Load(); got != readsAtOnce+2 {
		t.Errorf("%d reads, want %d", got, readsAtOnce+2)
	}
	if got := longest.Load(); got != readLength {
		t.Errorf("%d rows in one read, want %d", got, readLength)
	}
	if _, ok := r.local.Get(1002); !ok {
		t.Error("a row that was read with others is not in memory")
	}
	if _, ok := r.local.Get(1001); ok {
		t.Error("an error is in memory")
	}
}
