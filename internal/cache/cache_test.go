package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/stores/sqlc"
	"github.com/zeromicro/go-zero/core/stores/sqlx"

	"shares/internal/devredis"
)

func TestSharedByReplicas(t *testing.T) {
	s, db := server(t), newDatabase()
	a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
	sharedByReplicas(t, db, a, b)
}

// The same on the Redis that serve brings along.
func TestSharedOnDevRedis(t *testing.T) {
	s, err := devredis.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	db := newDatabase()
	a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
	sharedByReplicas(t, db, a, b)
}

// And on a cluster, where the keys of a script must share a slot.
func TestSharedOnCluster(t *testing.T) {
	addr, db := cluster(t), newDatabase()
	a, b := newReplica(t, addr, db, onCluster(t)), newReplica(t, addr, db, onCluster(t))
	sharedByReplicas(t, db, a, b)
	if err := a.DelCtx(t.Context(), "one", "two", "three"); err != nil || a.pending.size() > 0 {
		t.Errorf("keys of several slots: %v, %d pending", err, a.pending.size())
	}
	// Rows in memory follow the messages, and are not kept long.
	version(t, b.memory, 1)
	time.Sleep(blind)
	if _, ok := b.local.Get(1); ok {
		t.Error("a row in memory is used beyond half a second")
	}
}

func sharedByReplicas(t *testing.T, db *database, a, b *replica) {
	t.Helper()
	a.up(t)
	b.up(t)
	db.commit(1, 1)
	if got := version(t, a.shared, 1); got != 1 {
		t.Errorf("first read: version %d", got)
	}
	if got := version(t, b.shared, 1); got != 1 || db.count() != 1 {
		t.Errorf("the other replica's read: version %d after %d queries, want 1 after 1", got, db.count())
	}
	if got := version(t, b.memory, 1); got != 1 {
		t.Errorf("the other replica's memory: version %d", got)
	}
	if err := a.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*replica{"writer": a, "other": b} {
		if got := version(t, r.shared, 1); got != 2 {
			t.Errorf("%s: version %d after the write", name, got)
		}
	}
	eventually(t, "the other replica's memory has the new row", func() bool { return version(t, b.memory, 1) == 2 })
	if got := db.count(); got != 2 {
		t.Errorf("%d queries, want 2", got)
	}
}

// What does not exist is not remembered: whoever makes it need not tell.
func TestNotFound(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	for name, read := range levels {
		t.Run(name, func(t *testing.T) {
			before := db.count()
			for range 2 {
				// goctl's models compare with ==.
				if _, err := read(r)(t.Context(), 1); err != sql.ErrNoRows || !r.IsNotFound(err) { //nolint:errorlint
					t.Fatalf("no such row: %v", err)
				}
			}
			if got := db.count() - before; got != 2 {
				t.Errorf("%d queries, want 2", got)
			}
			eventually(t, "the lease was given back", func() bool { return s.Client(t).Exists(t.Context(), r.key(keyOf(1))).Val() == 0 })
		})
	}
	db.commit(1, 1)
	for name, read := range levels {
		if got := version(t, read(r), 1); got != 1 {
			t.Errorf("%s: version %d after the insert", name, got)
		}
	}
}

func TestQueryErrorsAreNotCached(t *testing.T) {
	s := server(t)
	r := newReplica(t, s.Addr(), newDatabase())
	r.up(t)
	boom := errors.New("boom")
	var row user
	for range 2 {
		if err := r.TakeCtx(t.Context(), &row, "k", func(any) error { return boom }); !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
	}
	// The lease was given back, so the first success is stored.
	if err := r.Take(&row, "k", func(v any) error { v.(*user).ID = 7; return nil }); err != nil {
		t.Fatal(err)
	}
	var stored user
	if err := r.Get("k", &stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(row, stored); diff != "" {
		t.Error(diff)
	}
}

func TestLivesAreBounded(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	c := s.Client(t)
	for id := range int64(20) {
		db.commit(id, 1)
		version(t, r.shared, id)
		if ttl := c.PTTL(t.Context(), r.key(keyOf(id))).Val(); ttl > 5*time.Minute || ttl < 4*time.Minute-time.Second {
			t.Errorf("a value lives %v", ttl)
		}
	}
	if f := r.lookup(t.Context(), []string{"untaken"}, true)[0]; f.state != leased {
		t.Fatalf("state %v", f.state)
	}
	if ttl := c.PTTL(t.Context(), r.key("untaken")).Val(); ttl <= 0 || ttl > leaseLife {
		t.Errorf("a lease lives %v", ttl)
	}
	// Meanwhile nobody else gets one, or is kept from reading.
	if f := r.lookup(t.Context(), []string{"untaken"}, true)[0]; f.state != held {
		t.Errorf("state %v", f.state)
	}
}

// Set has no lease, so it must not store.
func TestSetStoresNothing(t *testing.T) {
	s := server(t)
	r := newReplica(t, s.Addr(), newDatabase())
	r.up(t)
	if err := errors.Join(r.Set("k", user{}), r.SetCtx(t.Context(), "k", user{}), r.SetWithExpire("k", user{}, time.Minute),
		r.SetWithExpireCtx(t.Context(), "k", user{}, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := r.Get("k", &user{}); !r.IsNotFound(err) {
		t.Errorf("Get after Set: %v", err)
	}
}

// As goctl's FindOneByOpenid does it: an index to the primary key, and the row by that.
func TestIndexQuery(t *testing.T) {
	s := server(t)
	r := newReplica(t, s.Addr(), newDatabase())
	r.up(t)
	const id = int64(1)<<60 + 1 // not a float64
	want := user{ID: id, Phone: sql.NullString{String: "<&>", Valid: true}}
	var byIndex, byPrimary int
	conn := sqlc.NewConnWithCache(nil, r.Cache)
	find := func() (row user, err error) {
		err = conn.QueryRowIndexCtx(t.Context(), &row, "cache:user:openid:x",
			func(primary any) string { return fmt.Sprintf("cache:user:id:%v", primary) },
			func(_ context.Context, _ sqlx.SqlConn, v any) (any, error) {
				byIndex++
				*v.(*user) = want
				return want.ID, nil
			},
			func(_ context.Context, _ sqlx.SqlConn, v, primary any) error {
				byPrimary++
				if got := fmt.Sprint(primary); got != fmt.Sprint(id) {
					return fmt.Errorf("primary key %s", got)
				}
				*v.(*user) = want
				return nil
			})
		return row, err
	}
	for range 3 {
		got, err := find()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if byIndex != 1 || byPrimary != 1 {
		t.Errorf("%d queries by index and %d by primary key, want 1 and 1", byIndex, byPrimary)
	}
	_, err := conn.ExecCtx(t.Context(), func(context.Context, sqlx.SqlConn) (sql.Result, error) { return nil, nil },
		"cache:user:openid:x", keyOf(id))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := find(); err != nil || byIndex != 2 {
		t.Errorf("after a write: %v, %d queries by index, want 2", err, byIndex)
	}
}

func TestConcurrentReadsShareOneQuery(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	arrived, release := db.holdNext()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if row, err := r.shared(t.Context(), 1); err != nil || row.Version != 1 {
				t.Errorf("got %v, %v", row, err)
			}
		})
	}
	<-arrived
	release()
	wg.Wait()
	if got := db.count(); got != 1 {
		t.Errorf("%d queries, want 1", got)
	}
}

// Who leaves does not take the others along: neither a waiter, nor the one whose query they wait for.
func TestEachCallerHasItsOwnContext(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	arrived, release := db.holdNext()
	defer release()

	leader, leave := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() { _, err := r.shared(leader, 1); led <- err }()
	<-arrived

	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.shared(impatient, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the impatient waiter got %v", err)
	}

	patient := make(chan error, 1)
	go func() { _, err := r.shared(t.Context(), 1); patient <- err }()
	leave()
	release()
	if err := <-led; !errors.Is(err, context.Canceled) {
		t.Errorf("the leader got %v", err)
	}
	if err := <-patient; err != nil {
		t.Errorf("the patient waiter got %v", err)
	}
}

func TestPanickingQueryDoesNotBlockOthers(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = r.Take(new(user), keyOf(1), func(any) error { panic("boom") })
	}()
	if got := version(t, r.shared, 1); got != 1 {
		t.Errorf("version %d", got)
	}
}

// Programs with other columns do not read each other's rows, but do void them.
func TestSchemaSeparatesValuesNotInvalidations(t *testing.T) {
	s, db := server(t), newDatabase()
	before := newReplica(t, s.Addr(), db, func(o *Options) { o.Schema = "before" })
	after := newReplica(t, s.Addr(), db, func(o *Options) { o.Schema = "after" })
	before.up(t)
	after.up(t)
	db.commit(1, 1)
	version(t, before.shared, 1)
	version(t, after.shared, 1)
	if got := db.count(); got != 2 {
		t.Errorf("%d queries, want 2", got)
	}
	if err := before.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	if got := version(t, after.shared, 1); got != 2 {
		t.Errorf("version %d", got)
	}
}

func TestForeignValuesAreReplaced(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	mark := r.link.view.Load().mark
	for name, text := range map[string]string{
		"empty":         "",
		"short":         "V",
		"unmarked":      "Vxxxxxxxxxxxxxxxx9999999999999{}",
		"no time":       "V" + mark + "xxxxxxxxxxxxx{}",
		"unknown kind":  "X" + mark + "9999999999999{}",
		"not a row":     "V" + mark + "9999999999999[",
		"another shape": "V" + mark + `9999999999999{"ID":"seven"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.Client(t).Set(t.Context(), r.key(keyOf(1)), text, 0).Err(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := version(t, r.shared, 1); got != 1 {
					t.Errorf("version %d", got)
				}
			}
		})
	}
}

// Losing Redis must not let the whole load into the database at once.
func TestQueriesAreBounded(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db, func(o *Options) { o.Queries = 4 })
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	var in, most atomic.Int64
	db.onRead(func() {
		n := in.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		in.Add(-1)
	})
	var wg sync.WaitGroup
	for id := range int64(100) {
		db.commit(id, 1)
		wg.Go(func() {
			if _, err := r.shared(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := most.Load(); got != 4 {
		t.Errorf("up to %d queries at once, want 4", got)
	}
	// A caller who cannot wait for a place leaves.
	_, release := db.holdNext()
	defer release()
	for range cap(r.queries) {
		r.queries <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.shared(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	s, db := server(t), newDatabase()
	reg := prometheus.NewPedanticRegistry()
	r := newReplica(t, s.Addr(), db, func(o *Options) { o.Metrics = reg })
	r.up(t)
	db.commit(1, 1)
	version(t, r.shared, 1) // database
	version(t, r.memory, 1) // redis
	version(t, r.memory, 1) // memory
	if err := r.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the own message comes back", func() bool { return testutil.ToFloat64(r.count.voidsSeen) == 1 })
	got := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"shares_cache_reads_total database": 1,
		"shares_cache_reads_total joined":   0,
		"shares_cache_reads_total memory":   1,
		"shares_cache_reads_total redis":    1,
		"shares_cache_voids_total own":      1,
		"shares_cache_voids_total seen":     1,
		"shares_cache_pending_voids":        0,
		"shares_cache_redis_errors_total":   0,
		"shares_cache_redis_used":           1,
		"shares_cache_stream_proven":        1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no client":       {},
		"idle in advance": {Redis: redis.NewClient(&redis.Options{MinIdleConns: 1, Addr: "127.0.0.1:1"})},
	} {
		if c, err := New(o); err == nil {
			_ = c.Close()
			t.Errorf("%s: no error", name)
		}
		if o.Redis != nil {
			_ = o.Redis.Close()
		}
	}
}
