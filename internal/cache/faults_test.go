package cache

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// patient is what a call may take when Redis does not answer: the limit of a call or two, on a busy machine.
const patient = 700 * time.Millisecond

// timed fails the test when f takes long.
func timed(t testing.TB, what string, limit time.Duration, f func()) {
	t.Helper()
	from := time.Now()
	f()
	if took := time.Since(from); took > limit {
		t.Errorf("%s took %v", what, took)
	}
}

// outages are the ways in which Redis goes away and returns.
var outages = map[string]struct {
	leave, back func(*testenv.RedisServer) error
}{
	"refused": {(*testenv.RedisServer).Kill, (*testenv.RedisServer).Start},
	"hanging": {(*testenv.RedisServer).Pause, (*testenv.RedisServer).Resume},
}

// While Redis is away everything is served and nothing waits; within a second of its return it is used again, and what it kept of
// the time before is not believed.
func TestOutage(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
			a.up(t)
			b.up(t)
			for id := range int64(3) {
				db.commit(id, 1)
				version(t, a.shared, id)
				version(t, b.memory, id)
			}
			if err := outage.leave(s); err != nil {
				t.Fatal(err)
			}
			timed(t, "the first read", patient, func() { version(t, a.shared, 0) })
			timed(t, "the first write", patient, func() {
				if err := b.write(t.Context(), 1, 2); err != nil {
					t.Error(err)
				}
			})
			// More failing calls than the client's pool is large: it must not hold that against Redis when it returns.
			timed(t, "many reads and writes", patient, func() {
				for range 100 {
					version(t, a.shared, 0)
					if err := b.write(t.Context(), 2, 2); err != nil {
						t.Error(err)
					}
				}
			})
			if got := version(t, b.memory, 1); got != 2 {
				t.Errorf("the writer reads version %d of its own write", got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Flush is sure of what it cannot know: %v", err)
			}
			time.Sleep(2 * window)
			if got := version(t, a.memory, 1); got != 2 {
				t.Errorf("the other reads version %d", got)
			}

			if err := outage.back(s); err != nil {
				t.Fatal(err)
			}
			timed(t, "the return", time.Second, func() {
				for !a.used() || !b.used() {
					for id := range int64(3) {
						version(t, a.shared, id)
					}
					time.Sleep(time.Millisecond)
				}
			})
			ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := b.Flush(ctx); err != nil {
				t.Error(err)
			}
			before := db.count()
			for id, want := range []int64{1, 2, 2} {
				for range 2 {
					if got := version(t, a.shared, int64(id)); got != want {
						t.Errorf("row %d: version %d, want %d", id, got, want)
					}
				}
			}
			if got := db.count() - before; got > 3 {
				t.Errorf("%d queries for 3 rows read twice: the shared level is not used", got)
			}
		})
	}
}

// A process that dies with invalidations that it could not deliver must not leave old rows to others.
func TestWriterDiesDuringOutage(t *testing.T) {
	s, db := server(t), newDatabase()
	reader, writer := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
	reader.up(t)
	writer.up(t)
	db.commit(1, 1)
	version(t, reader.memory, 1)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := writer.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	// What it has sent already would arrive. A process killed a little earlier has not sent it.
	_ = writer.redis.Close()
	if err := writer.Close(); err == nil {
		t.Error("Close is silent about what it could not deliver")
	}
	time.Sleep(window + beatEvery)
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	reader.up(t)
	for name, read := range map[string]func(context.Context, int64) (*user, error){"redis": reader.shared, "memory": reader.memory} {
		if got := version(t, read, 1); got != 2 {
			t.Errorf("%s: version %d", name, got)
		}
	}
}

// A Redis that comes back with what it had once saved comes back with invalidations undone.
func TestRestartWithOldData(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	version(t, r.shared, 1)
	if err := s.Client(t).Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	// As fast as a supervisor can, so that the heartbeat may not notice.
	if err := errors.Join(s.Kill(), s.Start()); err != nil {
		t.Fatal(err)
	}
	if s.Client(t).Exists(t.Context(), r.key(keyOf(1))).Val() != 1 {
		t.Fatal("Redis did not bring the old row back, so this test shows nothing")
	}
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		if got := version(t, r.shared, 1); got != 2 {
			t.Fatalf("version %d", got)
		}
	}
	r.up(t)
	// Nor does a process believe it that was not there before.
	next := newReplica(t, s.Addr(), db)
	next.up(t)
	if got := version(t, next.shared, 1); got != 2 {
		t.Errorf("a new process reads version %d", got)
	}
}

// A flushed Redis forgets leases too.
func TestFlushedRedis(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	arrived, release := db.holdNext()
	var slow sync.WaitGroup
	slow.Go(func() { version(t, r.shared, 1) })
	<-arrived
	if err := s.Client(t).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	db.commit(1, 2)
	release()
	slow.Wait()
	if got := version(t, r.shared, 1); got != 2 {
		t.Errorf("version %d: a lease survived the flush", got)
	}
}

// proxy stands between one replica and Redis, and can be cut.
type proxy struct {
	addr string
	cut  atomic.Bool
	mu   sync.Mutex
	open map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), open: make(map[net.Conn]bool)}
	var pipes sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		p.set(true)
		pipes.Wait()
	})
	pipes.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil || !p.keep(in, out) {
				_ = in.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				pipes.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	return p
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.open[c] = true
		if p.cut.Load() {
			_ = c.Close()
		}
	}
	return !p.cut.Load()
}

// set cuts all connections, and those to come, or lets them through again.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut.Store(cut)
	if cut {
		for c := range p.open {
			_ = c.Close()
		}
		clear(p.open)
	}
}

// The limit that doc.go states: a writer that alone has lost Redis is read late by others, and it knows.
func TestWriterAloneLosesRedis(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"few keys":  func(*Options) {},
		"many keys": func(o *Options) { o.Pending = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			s, db := server(t), newDatabase()
			p := newProxy(t, s.Addr())
			reader, writer := newReplica(t, s.Addr(), db), newReplica(t, p.addr, db, change)
			reader.up(t)
			writer.up(t)
			for id := range int64(5) {
				db.commit(id, 1)
				version(t, reader.memory, id)
				eventually(t, "the row is in redis", func() bool { return reader.lookup(t.Context(), []string{keyOf(id)}, false)[0].state == hit })
			}
			p.set(true)
			for id := range int64(5) {
				if err := writer.write(t.Context(), id, 2); err != nil {
					t.Fatal(err)
				}
				if got := version(t, writer.memory, id); got != 2 {
					t.Errorf("the writer reads version %d", got)
				}
			}
			if got := version(t, reader.shared, 4); got != 1 {
				t.Errorf("version %d: the reader cannot know", got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := writer.Flush(ctx); err == nil {
				t.Error("Flush is sure")
			}
			if got := writer.pending.size(); got < 1 || got > 5 {
				t.Errorf("%d keys wait", got)
			}
			p.set(false)
			ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := writer.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			for _, read := range []func(context.Context, int64) (*user, error){reader.shared, reader.memory, writer.shared} {
				eventually(t, "the reader has the new rows", func() bool {
					for id := range int64(5) {
						if version(t, read, id) != 2 {
							return false
						}
					}
					return true
				})
			}
		})
	}
}

// A Redis that takes no writes would be read, and never voided.
func TestReadOnlyRedisIsNotUsed(t *testing.T) {
	type change func(*redis.Client) error
	for name, test := range map[string]struct{ refuse, mend change }{
		"a replica": {
			func(c *redis.Client) error { return c.ReplicaOf(context.Background(), "127.0.0.1", "1").Err() },
			func(c *redis.Client) error { return c.ReplicaOf(context.Background(), "NO", "ONE").Err() },
		},
		"writes refused": {
			func(c *redis.Client) error {
				return c.ConfigSet(context.Background(), "min-replicas-to-write", "1").Err()
			},
			func(c *redis.Client) error {
				return c.ConfigSet(context.Background(), "min-replicas-to-write", "0").Err()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, db := server(t), newDatabase()
			r := newReplica(t, s.Addr(), db)
			r.up(t)
			db.commit(1, 1)
			version(t, r.shared, 1)
			if err := test.refuse(s.Client(t)); err != nil {
				t.Fatal(err)
			}
			if err := r.write(t.Context(), 1, 2); err != nil {
				t.Error(err)
			}
			if got := version(t, r.shared, 1); got != 2 {
				t.Errorf("version %d", got)
			}
			eventually(t, "it is noticed", func() bool { return !r.used() })
			if err := test.mend(s.Client(t)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := r.Flush(ctx); err != nil {
				t.Error(err)
			}
			r.up(t)
			if got := version(t, r.shared, 1); got != 2 {
				t.Errorf("version %d after it takes writes again", got)
			}
		})
	}
}

// What this process could not tell Redis, it must not hear from it.
func TestPendingKeysAreNotReadFromRedis(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	version(t, r.shared, 1)
	db.commit(1, 2)
	r.pending.add([]string{keyOf(1)})
	if got := version(t, r.shared, 1); got != 2 {
		t.Errorf("version %d", got)
	}
	eventually(t, "the heartbeat delivers", func() bool { return r.pending.size() == 0 })
	if got := version(t, r.shared, 1); got != 2 {
		t.Errorf("version %d after the delivery", got)
	}
}

func TestPendingIsKept(t *testing.T) {
	p := pending{limit: 2}
	p.add([]string{"a"})
	keys, all, receipt := p.some(10)
	p.add([]string{"a"}) // written again, while the first is delivered
	p.done(keys, all, receipt)
	if !p.has("a") {
		t.Error("the second invalidation is lost")
	}
	p.add([]string{"b", "c"})
	if !p.has("anything") || p.size() != 1 {
		t.Error("an overflow does not stand for every key")
	}
	keys, all, receipt = p.some(10)
	p.add([]string{"d"})
	p.done(keys, all, receipt)
	if !p.has("anything") {
		t.Error("what came during the delivery of all is lost")
	}
	drained := p.drained()
	keys, all, receipt = p.some(10)
	p.done(keys, all, receipt)
	select {
	case <-drained:
	default:
		t.Error("not drained")
	}
}

// go-redis would dial only once a second after some failures, and the return of Redis would be seen late.
func TestDialingGoesOn(t *testing.T) {
	var dials, made atomic.Uint64
	o := &redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}, PoolSize: 1}
	Bound(o)
	o.Dialer = func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, errors.New("refused")
	}
	c := redis.NewUniversalClient(o)
	defer c.Close() //nolint:errcheck
	c.AddHook(dialHook{&made})
	for range 10 {
		if err := c.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
	}
	if dials.Load() != 10 || made.Load() != 0 {
		t.Errorf("%d dials for 10 calls, %d made", dials.Load(), made.Load())
	}
}
