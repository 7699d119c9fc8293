package cache

import (
	"context"
	"database/sql"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// deadline is how long a test waits for a condition on a busy machine.
const deadline = time.Minute

// user is a row like those of goctl's models.
type user struct {
	ID      int64
	Version int64
	Phone   sql.NullString
}

// prefix begins the keys of the replicas in Redis.
const prefix = "test:"

func keyOf(id int64) string { return "user:" + strconv.FormatInt(id, 10) }

// database is a fake of MySQL whose rows are versions.
type database struct {
	mu      sync.Mutex
	rows    map[int64]int64
	queries int
	read    func() // if set, called after a query has read its row
}

func newDatabase() *database { return &database{rows: make(map[int64]int64)} }

func (d *database) commit(id, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows[id] = version
}

func (d *database) find(ctx context.Context, id int64) (user, error) {
	d.mu.Lock()
	version, ok := d.rows[id]
	d.queries++
	read := d.read
	d.mu.Unlock()
	if read != nil {
		read()
	}
	if err := ctx.Err(); err != nil {
		return user{}, err
	}
	if !ok {
		return user{}, sql.ErrNoRows
	}
	return user{ID: id, Version: version}, nil
}

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

// holdNext makes the next query wait, after it has read its row, until release is called. arrived
// is closed when it waits.
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

// replica is the cache of one process in front of a database.
type replica struct {
	*Cache
	db *database
}

// levels are the two ways to configure a replica.
var levels = map[string]func(*Options){
	"local and shared level": func(o *Options) { o.Local = 1000 },
	"shared level only":      func(*Options) {},
}

func withLocal(o *Options) { o.Local = 1000 }

// newReplica returns a replica that uses Redis.
func newReplica(t testing.TB, addr string, db *database, change ...func(*Options)) *replica {
	t.Helper()
	o := Options{
		Servers: redis.UniversalOptions{Addrs: []string{addr}, PoolSize: 8},
		Prefix:  "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range change {
		f(&o)
	}
	o.Redis = NewClient(o.Servers, 100*time.Millisecond)
	t.Cleanup(func() { _ = o.Redis.Close() })
	c := New(o)
	t.Cleanup(func() { _ = c.Close() })
	r := &replica{Cache: c, db: db}
	r.up(t)
	return r
}

// find reads a row like goctl's FindOne.
func (r *replica) find(ctx context.Context, id int64) (user, error) {
	var row user
	err := r.TakeCtx(ctx, &row, keyOf(id), func(v any) error {
		found, err := r.db.find(ctx, id)
		if err == nil {
			*v.(*user) = found
		}
		return err
	})
	return row, err
}

// version returns the row's version; an error fails the test.
func (r *replica) version(t testing.TB, id int64) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	row, err := r.find(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return row.Version
}

// wants reads a row and compares its version.
func (r *replica) wants(t testing.TB, id, version int64) {
	t.Helper()
	if got := r.version(t, id); got != version {
		t.Errorf("row %d: got version %d, want %d", id, got, version)
	}
}

// flush waits until no invalidation is pending.
func (r *replica) flush(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		t.Error(err)
	}
}

// write commits and invalidates, like goctl's ExecCtx.
func (r *replica) write(t testing.TB, id, version int64) {
	t.Helper()
	r.db.commit(id, version)
	must(t, r.DelCtx(t.Context(), keyOf(id)))
}

func (r *replica) used() bool { return r.usable(r.era.Load()) }

// up waits until the replica uses Redis and its subscription is proven.
func (r *replica) up(t testing.TB) {
	t.Helper()
	eventually(t, "the shared level is used", r.used)
	if r.ordered {
		eventually(t, "the subscription is proven", r.isProven)
	}
}

// stored waits until Redis holds a value of the row that r may use.
func (r *replica) stored(t testing.TB, id int64) {
	t.Helper()
	eventually(t, "the row is in Redis", func() bool {
		r.version(t, id)
		_, ok := r.shared(t, keyOf(id))
		return ok
	})
}

// shared returns the row of key in Redis if r may use it.
func (r *replica) shared(t testing.TB, key string) (row user, ok bool) {
	t.Helper()
	level := r.era.Load().level + shape(reflect.TypeFor[user]())
	text, ok := strings.CutPrefix(r.redis.Get(t.Context(), prefix+key).Val(), level+kindValue)
	return row, ok && json.Unmarshal([]byte(text), &row) == nil
}

// silence ends the heartbeat and the subscription, as in a process that is paused. With cut, the
// replica treats Redis as unavailable.
func (r *replica) silence(cut bool) {
	r.stop()
	r.done.Wait()
	if cut {
		r.until.Store(0)
	}
}

func (r *replica) isLocal(id int64) bool {
	row, ok := r.rows.GetIfPresent(keyOf(id))
	return ok && r.fresh(row)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
	}
}

// onSomeRow calls try with increasing ids until it returns true. Some may fail on a busy machine,
// because a process that is not scheduled for half a second reads from the database.
func onSomeRow(t testing.TB, what string, try func(id int64) bool) {
	t.Helper()
	id := int64(0)
	eventually(t, what, func() bool { id++; return try(id) })
}

// eventuallyReads waits until the row that r returns has the version.
func (r *replica) eventuallyReads(t testing.TB, id, version int64) {
	t.Helper()
	eventually(t, "the new row is read", func() bool { return r.version(t, id) == version })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func server(t testing.TB, args ...string) *testenv.RedisServer {
	t.Helper()
	return testenv.Redis(t, args...)
}

// refusals returns the failed steps of Probe.
func refusals(t *testing.T, c redis.UniversalClient) (steps []string) {
	t.Helper()
	Probe(t.Context(), c, "test", func(step string, err error) {
		if err != nil {
			steps = append(steps, step)
		}
	})
	return steps
}

// afterReply is a hook of a client. It calls a function once, after the reply to a command and
// before its use.
type afterReply struct {
	command string
	call    atomic.Pointer[func()]
}

func (a *afterReply) next(f func()) { a.call.Store(&f) }

func (a *afterReply) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *afterReply) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == a.command {
			if call := a.call.Swap(nil); call != nil {
				(*call)()
			}
		}
		return err
	}
}

func (a *afterReply) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// slowRead starts a read whose query waits, after it has read its row, until finish is called.
// finish returns when the read has ended.
func (r *replica) slowRead(t testing.TB, id int64) (finish func()) {
	arrived, release := r.db.holdNext()
	done := make(chan struct{})
	go func() { defer close(done); _, _ = r.find(context.WithoutCancel(t.Context()), id) }()
	<-arrived
	finish = sync.OnceFunc(func() { release(); <-done })
	t.Cleanup(finish)
	return finish
}
