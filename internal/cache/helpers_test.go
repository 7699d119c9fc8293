package cache

import (
	"context"
	"database/sql"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// user is a row as goctl would cache it.
type user struct {
	ID      int64
	Version int64
	Phone   sql.NullString
}

func keyOf(id int64) string { return "cache:user:id:" + strconv.FormatInt(id, 10) }

// database stands for MySQL: a row is its version. A query may be held up between its read and its return.
type database struct {
	mu      sync.Mutex
	rows    map[int64]int64
	queries int
	// read, if set, is called with the row in hand, before the query returns it.
	read func()
}

func newDatabase() *database { return &database{rows: make(map[int64]int64)} }

// commit makes v the version of id.
func (d *database) commit(id, v int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows[id] = v
}

func (d *database) find(ctx context.Context, id int64) (*user, error) {
	d.mu.Lock()
	v, ok := d.rows[id]
	d.queries++
	read := d.read
	d.mu.Unlock()
	if read != nil {
		read()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, sql.ErrNoRows
	}
	return &user{ID: id, Version: v}, nil
}

// count returns the queries so far.
func (d *database) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries
}

func (d *database) onRead(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read = f
}

// replica is one process's cache, in front of a database.
type replica struct {
	*Cache
	db    *database
	local *Local[int64, *user]
	load  Read[int64, *user]
}

func client(t testing.TB, addr string) redis.UniversalClient {
	t.Helper()
	o := &redis.UniversalOptions{Addrs: []string{addr}, PoolSize: 8}
	Bound(o)
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newReplica(t testing.TB, addr string, db *database, change ...func(*Options)) *replica {
	t.Helper()
	o := Options{Redis: client(t, addr), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	l, err := NewLocal[int64, *user](c, LocalOptions[int64]{Key: IDKey("cache:user:id:")})
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{Cache: c, db: db, local: l}
	r.load = r.many
	return r
}

// shared reads through Redis only, as goctl's FindOne does.
func (r *replica) shared(ctx context.Context, id int64) (*user, error) {
	var row user
	err := r.TakeCtx(ctx, &row, keyOf(id), func(v any) error {
		found, err := r.db.find(ctx, id)
		if err != nil {
			return err
		}
		*v.(*user) = *found
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &row, nil
}

// many reads several rows through Redis, as the model does for Local.
func (r *replica) many(ctx context.Context, ids []int64, answer func(int, *user, error)) {
	keys, vals := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		keys[i], vals[i] = keyOf(id), new(user)
	}
	r.TakeMany(ctx, keys, vals, r.query, func(i int, err error) { answer(i, vals[i].(*user), err) })
}

// query is the Query of many.
func (r *replica) query(ctx context.Context, keys []string, vals []any) []error {
	errs := make([]error, len(keys))
	for i, key := range keys {
		id, _ := IDKey("cache:user:id:")(key)
		var found *user
		if found, errs[i] = r.db.find(ctx, id); errs[i] == nil {
			*vals[i].(*user) = *found
		}
	}
	return errs
}

// all calls a Read and waits for all of its answers.
func all[K comparable, T any](ctx context.Context, read Read[K, T], keys []K) ([]T, []error) {
	values, errs := make([]T, len(keys)), make([]error, len(keys))
	var wg sync.WaitGroup
	wg.Add(len(keys))
	read(ctx, keys, func(i int, value T, err error) {
		values[i], errs[i] = value, err
		wg.Done()
	})
	wg.Wait()
	return values, errs
}

// each is the Read of a function that reads one row.
func each[K comparable, T any](read func(context.Context, K) (T, error)) Read[K, T] {
	return func(ctx context.Context, keys []K, answer func(int, T, error)) {
		for i, key := range keys {
			value, err := read(ctx, key)
			answer(i, value, err)
		}
	}
}

// memory reads through both levels.
func (r *replica) memory(ctx context.Context, id int64) (*user, error) {
	return r.local.Take(ctx, id, r.load)
}

// levels are the two ways to read.
var levels = map[string]func(*replica) func(context.Context, int64) (*user, error){
	"redis":  func(r *replica) func(context.Context, int64) (*user, error) { return r.shared },
	"memory": func(r *replica) func(context.Context, int64) (*user, error) { return r.memory },
}

// write commits and invalidates, as goctl's ExecCtx does.
func (r *replica) write(ctx context.Context, id, v int64) error {
	r.db.commit(id, v)
	return r.DelCtx(ctx, keyOf(id))
}

// up waits until the replica uses Redis and its stream is proven.
func (r *replica) up(t testing.TB) {
	t.Helper()
	eventually(t, "the shared level is used", r.used)
	if !r.opts.Unordered {
		eventually(t, "the stream is proven", func() bool { return int64(r.clock()) < r.stream.proven.Load() })
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// version reads and fails the test on an error.
func version(t testing.TB, read func(context.Context, int64) (*user, error), id int64) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	row, err := read(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return row.Version
}

// server starts a Redis that is killed with the test.
func server(t testing.TB, args ...string) *testenv.RedisServer {
	t.Helper()
	return testenv.Redis(t, args...)
}

// holdNext makes the next query of db wait, the row in hand, until release is called; arrived is closed when it waits.
func (d *database) holdNext() (arrived <-chan struct{}, release func()) {
	in, out := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.onRead(func() {
		first := false
		once.Do(func() { first = true })
		if first {
			close(in)
			<-out
		}
	})
	return in, sync.OnceFunc(func() { close(out) })
}

// cluster starts a cluster of one node, which holds its clients to the rules of clusters, and returns its address.
func cluster(t testing.TB) string {
	t.Helper()
	s := server(t, "--cluster-enabled", "yes")
	if err := s.Client(t).ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	return s.Addr()
}

// onCluster has a replica's client be one for clusters.
func onCluster(t testing.TB) func(*Options) {
	return func(o *Options) {
		co := &redis.UniversalOptions{Addrs: []string{o.Redis.(*redis.Client).Options().Addr}, IsClusterMode: true}
		Bound(co)
		o.Redis = redis.NewUniversalClient(co)
		t.Cleanup(func() { _ = o.Redis.Close() })
	}
}
