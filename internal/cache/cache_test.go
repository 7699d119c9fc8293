package cache

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"shares/internal/devredis"
	"shares/internal/testenv"
)

func TestReplicasShareRows(t *testing.T) {
	for name, addr := range map[string]func(*testing.T) (string, func(*Options)){
		"redis": func(t *testing.T) (string, func(*Options)) { return server(t).Addr(), withLocal },
		"embedded redis": func(t *testing.T) (string, func(*Options)) {
			address, stop, err := devredis.Start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			return address, withLocal
		},
		"proxy": func(t *testing.T) (string, func(*Options)) {
			addr := testenv.ManagedRedis(t, server(t))
			return addr, func(o *Options) { withLocal(o); o.Proxy = true }
		},
		"cluster, with the documented rights": func(t *testing.T) (string, func(*Options)) {
			s := testenv.RedisCluster(t)
			s.Restrict(t, "app", "secret", "test")
			return s.Addr(), func(o *Options) {
				withLocal(o)
				o.Servers.IsClusterMode = true
				o.Servers.Username, o.Servers.Password = "app", "secret"
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, change := addr(t)
			db := newDatabase()
			a, b := newReplica(t, addr, db, change), newReplica(t, addr, db, change)
			onSomeRow(t, "a row that the other replica stored is read from Redis", func(id int64) bool {
				db.commit(id, 1)
				a.stored(t, id)
				queries := db.count()
				b.wants(t, id, 1)
				return db.count() == queries
			})
			a.write(t, 1, 2)
			a.wants(t, 1, 2)
			b.eventuallyReads(t, 1, 2)
			if err := a.DelCtx(t.Context(), "one", "two", "three"); err != nil || a.pending.Load() > 0 {
				t.Errorf("keys of several slots: %v, %d pending, want 0", err, a.pending.Load())
			}
			if a.ordered {
				return
			}
			// A cluster or a proxy does not order messages, so the subscription is never proven.
			a.stored(t, 1)
			eventually(t, "the local row expires", func() bool { return !a.isLocal(1) })
			if a.isProven() {
				t.Error("the subscription counts as proven")
			}
		})
	}
}

func TestFailedQueriesAreNotCached(t *testing.T) {
	for name, level := range levels {
		t.Run(name, func(t *testing.T) {
			db := newDatabase()
			r := newReplica(t, server(t).Addr(), db, level)
			for range 2 {
				// goctl's models compare with ==.
				if _, err := r.find(t.Context(), 1); err != sql.ErrNoRows {
					t.Fatalf("no such row: %v, want %v", err, sql.ErrNoRows)
				}
				boom := errors.New("boom")
				err := r.TakeCtx(t.Context(), new(user), keyOf(1), func(any) error { return boom })
				if !errors.Is(err, boom) {
					t.Fatalf("got %v, want %v", err, boom)
				}
			}
			if got := db.count(); got != 2 {
				t.Errorf("%d queries, want 2", got)
			}
			db.commit(1, 1)
			r.wants(t, 1, 1)
		})
	}
}

func TestLivesAreBounded(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	c := s.Client(t)
	for id := range int64(20) {
		db.commit(id, 1)
		r.stored(t, id)
		ttl := c.PTTL(t.Context(), prefix+keyOf(id)).Val()
		if ttl > 5*time.Minute || ttl < 3*time.Minute {
			t.Errorf("a value lives %v, want 4 to 5 minutes", ttl)
		}
	}
	db.commit(99, 1)
	finish := r.slowRead(t, 99)
	if ttl := c.PTTL(t.Context(), prefix+keyOf(99)).Val(); ttl > leaseLife || ttl <= 0 {
		t.Errorf("a lease lives %v, want at most %v", ttl, leaseLife)
	}
	// A process that gets no lease reads from the database.
	other := newReplica(t, s.Addr(), db)
	other.wants(t, 99, 1)
	finish()
}

func TestConcurrentReadsShareOneQuery(t *testing.T) {
	for name, level := range levels {
		t.Run(name, func(t *testing.T) {
			db := newDatabase()
			r := newReplica(t, server(t).Addr(), db, level)
			db.commit(1, 1)
			finish := r.slowRead(t, 1)
			var wg sync.WaitGroup
			joined := testutil.ToFloat64(r.count.joined)
			for range 50 {
				wg.Go(func() { r.version(t, 1) })
			}
			eventually(t, "all have joined or read", func() bool {
				return testutil.ToFloat64(r.count.joined)-joined+float64(db.count()-1) >= 50
			})
			finish()
			wg.Wait()
			// On a busy machine some reads start late: a read older than 500 ms is not joined.
			if got := db.count(); got > 10 {
				t.Errorf("%d queries for 51 reads, want at most 10", got)
			}
		})
	}
}

// A caller whose context ends, even the leader, does not fail the others.
func TestEachCallerHasItsOwnContext(t *testing.T) {
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db)
	db.commit(1, 1)
	arrived, release := db.holdNext()
	defer release()

	leader, leave := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() { _, err := r.find(leader, 1); led <- err }()
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.find(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled waiter got %v, want %v", err, context.Canceled)
	}
	waiter := make(chan error, 1)
	go func() { _, err := r.find(t.Context(), 1); waiter <- err }()
	leave()
	release()
	if err := <-led; !errors.Is(err, context.Canceled) {
		t.Errorf("the leader got %v, want %v", err, context.Canceled)
	}
	if err := <-waiter; err != nil {
		t.Errorf("the waiter got %v, want a row", err)
	}
}

func TestPanickingQueryDoesNotBlockOthers(t *testing.T) {
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db, withLocal)
	db.commit(1, 1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = r.TakeCtx(t.Context(), new(user), keyOf(1), func(any) error { panic("boom") })
	}()
	r.wants(t, 1, 1)
}

// Program versions with different columns do not read each other's rows, but invalidate them.
func TestShapeSeparatesValuesNotInvalidations(t *testing.T) {
	s, db := server(t), newDatabase()
	this, next := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
	type another struct {
		ID, Version int64
		Email       string
	}
	find := func() (row another) {
		err := next.TakeCtx(t.Context(), &row, keyOf(1), func(v any) error {
			found, err := db.find(t.Context(), 1)
			v.(*another).ID, v.(*another).Version = found.ID, found.Version
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return row
	}
	db.commit(1, 1)
	this.stored(t, 1)
	queries := db.count()
	if find(); db.count() != queries+1 {
		t.Errorf("%d queries, want 1: the row has another shape", db.count()-queries)
	}
	this.write(t, 1, 2)
	if got := find().Version; got != 2 {
		t.Errorf("version %d, want 2", got)
	}
}

func TestForeignContentIsReplaced(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	db.commit(1, 1)
	r.stored(t, 1)
	c := s.Client(t)
	text := c.Get(t.Context(), prefix+keyOf(1)).Val()
	level, _, _ := strings.Cut(text, kindValue)
	for name, text := range map[string]string{
		"empty": "", "short": "V", "another level": strings.Repeat("0", len(level)) + "V{}",
		"no kind": level, "unknown kind": level + "X{}", "not a row": level + "V[",
		"another row": level + `V{"ID":"seven"}`,
	} {
		t.Run(name, func(t *testing.T) {
			must(t, c.Set(t.Context(), prefix+keyOf(1), text, 0).Err())
			r.wants(t, 1, 1)
			r.stored(t, 1)
		})
	}
}

func TestLocalRowsAreBounded(t *testing.T) {
	db := newDatabase()
	r := newReplica(t, server(t).Addr(), db, func(o *Options) { o.Local = 10 })
	for id := range int64(1000) {
		db.commit(id, 1)
		r.version(t, id)
	}
	eventually(t, "only 10 rows are left", func() bool {
		r.rows.CleanUp()
		return r.rows.EstimatedSize() <= 10
	})
}

func TestMetrics(t *testing.T) {
	want := map[string]float64{
		"shares_cache_reads_total database":  1,
		"shares_cache_reads_total joined":    0,
		"shares_cache_reads_total memory":    1,
		"shares_cache_reads_total redis":     1,
		"shares_cache_pending_invalidations": 0,
		"shares_cache_redis_errors_total":    0,
		"shares_cache_redis_used":            1,
		"shares_cache_subscription_proven":   1,
	}
	s, db := server(t), newDatabase()
	onSomeRow(t, "reads are counted by their origin", func(id int64) bool {
		reg := prometheus.NewPedanticRegistry()
		r := newReplica(t, s.Addr(), db, withLocal, func(o *Options) { o.Metrics = reg })
		defer r.Close()
		db.commit(id, 1)
		r.version(t, id) // database
		r.forget(keyOf(id))
		r.version(t, id) // redis
		r.version(t, id) // memory
		r.up(t)
		diff := cmp.Diff(want, gather(t, reg))
		if diff != "" {
			t.Logf("(-want +got):\n%s", diff)
		}
		return diff == ""
	})
}

// gather returns the values of a registry by metric name and labels.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}
