package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestHitAllocatesNothing(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	ctx := t.Context()
	version(t, r.memory, 1)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.local.Take(ctx, 1, r.load); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMemorySharesOneRead(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	arrived, release := db.holdNext()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { version(t, r.memory, 1) })
	}
	<-arrived
	release()
	wg.Wait()
	if got := db.count(); got != 1 {
		t.Errorf("%d queries, want 1", got)
	}
}

// The read belongs to all who wait for it, and to those who come later.
func TestLoadOutlivesItsCaller(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	arrived, release := db.holdNext()
	defer release()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := r.memory(ctx, 1); left <- err }()
	<-arrived
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	release()
	eventually(t, "the row is in memory", func() bool { _, ok := r.local.Get(1); return ok })
}

func TestQueryEndsWithItsOwnTime(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase(), func(o *Options) { o.QueryTimeout = 20 * time.Millisecond })
	done := make(chan error, 1)
	r.TakeMany(t.Context(), []string{keyOf(1)}, []any{new(user)}, func(ctx context.Context, _ []string, _ []any) []error {
		<-ctx.Done()
		return []error{ctx.Err()}
	}, func(_ int, err error) { done <- err })
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestFailedReadsAreNotKept(t *testing.T) {
	s := server(t)
	r := newReplica(t, s.Addr(), newDatabase())
	boom := errors.New("boom")
	for name, read := range map[string]func(context.Context, int64) (*user, error){
		"error": func(context.Context, int64) (*user, error) { return nil, boom },
		"panic": func(context.Context, int64) (*user, error) { panic(boom) },
	} {
		if _, err := r.local.Take(t.Context(), 1, each(read)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, ok := r.local.Get(1); ok {
		t.Error("a row is in memory")
	}
}

func TestRowsInMemoryAreBounded(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	l, err := NewLocal[int64, int64](r.Cache, LocalOptions[int64]{Key: IDKey(""), Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	read := each(func(_ context.Context, id int64) (int64, error) { return id, nil })
	for id := range int64(1000) {
		if got, err := l.Take(t.Context(), id, read); err != nil || got != id {
			t.Fatalf("row %d: %v, %v", id, got, err)
		}
	}
	eventually(t, "only 10 rows are left", func() bool {
		l.rows.CleanUp()
		return l.rows.EstimatedSize() <= 10
	})
}

func TestIDKey(t *testing.T) {
	type result struct {
		id int64
		ok bool
	}
	for invalidated, want := range map[string]result{
		"cache:user:id:7":                   {7, true},
		"cache:user:id:":                    {0, false},
		"cache:user:id:7x":                  {0, false},
		"cache:user:openid:7":               {0, false},
		"cache:user:id:9223372036854775807": {9223372036854775807, true},
	} {
		id, ok := IDKey("cache:user:id:")(invalidated)
		if ok != want.ok || ok && id != want.id {
			t.Errorf("%q: %d, %v, want %+v", invalidated, id, ok, want)
		}
	}
}

// The age of a row counts from the start of its read, however long that took.
func TestAge(t *testing.T) {
	s := server(t)
	for name, test := range map[string]struct {
		life  time.Duration
		read  time.Duration // takes
		wait  time.Duration // afterwards
		proof bool
		fresh bool
	}{
		"young, no proof":            {time.Minute, 0, 0, false, true},
		"young by its end, no proof": {time.Minute, blind, 0, false, false},
		"old, proof":                 {time.Minute, 0, blind, true, true},
		"old by its start, proof":    {time.Minute, blind, 0, true, true},
		"beyond its life, proof":     {blind + time.Millisecond, 0, blind + 20*time.Millisecond, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t, s.Addr(), newDatabase(), func(o *Options) { o.Unordered = !test.proof })
			r.up(t)
			l, err := NewLocal[int64, int](r.Cache, LocalOptions[int64]{Key: IDKey(""), Life: test.life})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Take(t.Context(), 1, each(func(context.Context, int64) (int, error) {
				time.Sleep(test.read)
				return 1, nil
			})); err != nil {
				t.Fatal(err)
			}
			time.Sleep(test.wait)
			if _, ok := l.Get(1); ok != test.fresh {
				t.Errorf("fresh: %v", ok)
			}
		})
	}
}

// Rows read before a gap in the stream are not used, though the stream is proven again.
func TestGapInTheStream(t *testing.T) {
	for name, gap := range map[string]func(*testing.T, *replica){
		"subscription lost": func(t *testing.T, r *replica) {
			if err := r.redis.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
		},
		"everything voided": func(t *testing.T, r *replica) {
			if err := r.redis.Publish(t.Context(), r.stream.void, everything).Err(); err != nil {
				t.Fatal(err)
			}
		},
		"silence": func(_ *testing.T, r *replica) {
			r.stream.proven.Store(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase()
			r := newReplica(t, server(t).Addr(), db)
			r.up(t)
			db.commit(1, 1)
			version(t, r.memory, 1)
			epoch := r.stream.epoch.Load()
			gap(t, r)
			eventually(t, "there is a new epoch", func() bool { return r.stream.epoch.Load() > epoch })
			r.up(t)
			eventually(t, "the old row is not used", func() bool { _, ok := r.local.Get(1); return !ok })
			version(t, r.memory, 1)
			time.Sleep(blind)
			if _, ok := r.local.Get(1); !ok {
				t.Error("a row read after the gap is not used")
			}
		})
	}
}

func BenchmarkLocalHit(b *testing.B) {
	s, db := server(b), newDatabase()
	r := newReplica(b, s.Addr(), db)
	r.up(b)
	const rows = 100
	for id := range int64(rows) {
		db.commit(id, 1)
		version(b, r.memory, id)
	}
	ctx := b.Context()
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			_, _ = r.local.Take(ctx, i%rows, r.load)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := int64(0); pb.Next(); i++ {
				_, _ = r.local.Take(ctx, i%rows, r.load)
			}
		})
	})
}

// What a hit in Redis costs: by a plain GET as it is done, alone and with many at once, and by the script that a miss needs.
func BenchmarkSharedHit(b *testing.B) {
	s, db := server(b), newDatabase()
	r := newReplica(b, s.Addr(), db)
	r.up(b)
	db.commit(1, 1)
	version(b, r.shared, 1)
	ctx := b.Context()
	b.Run("TakeCtx", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.shared(ctx, 1)
		}
	})
	b.Run("GET", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.redis.Get(ctx, r.key(keyOf(1)))
		}
	})
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("TakeMany of %d, each", n), func(b *testing.B) {
			ids := make([]int64, n)
			for i := range ids {
				ids[i] = int64(i)
				db.commit(ids[i], 1)
				version(b, r.shared, ids[i])
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				_, _ = all(ctx, r.many, ids)
			}
		})
	}
	b.Run("script", func(b *testing.B) {
		b.ReportAllocs()
		v := r.link.view.Load()
		for b.Loop() {
			leaseScript.Run(ctx, r.redis, []string{r.key(keyOf(1))}, v.mark, v.after, "token", 1000)
		}
	})
}
