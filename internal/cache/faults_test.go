package cache

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// outages are the ways in which Redis becomes unavailable and returns.
var outages = map[string]struct {
	leave, back func(*testenv.RedisServer) error
}{
	"refused": {(*testenv.RedisServer).Kill, (*testenv.RedisServer).Start},
	"hanging": {(*testenv.RedisServer).Pause, (*testenv.RedisServer).Resume},
}

func TestOutage(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db, withLocal)
			a.up(t)
			b.up(t)
			for id := range int64(3) {
				db.commit(id, 1)
				a.version(t, id)
				b.version(t, id)
			}
			if err := outage.leave(s); err != nil {
				t.Fatal(err)
			}
			call := func() {
				a.version(t, 0)
				b.write(t, 1, 2)
				if got := b.version(t, 1); got != 2 {
					t.Fatalf("the writer reads version %d of its own write", got)
				}
			}
			call()
			for _, r := range []*replica{a, b} {
				eventually(t, "a heartbeat fails", func() bool { return r.until.Load() == 0 })
			}
			failed := func() float64 { return testutil.ToFloat64(a.count.errors) + testutil.ToFloat64(b.count.errors) }
			before := failed()
			for range 100 {
				call()
			}
			if got := failed(); got > before {
				t.Errorf("%v calls waited for Redis after that", got-before)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Flush: %v, want %v", err, context.DeadlineExceeded)
			}
			time.Sleep(2 * validity)
			if err := outage.back(s); err != nil {
				t.Fatal(err)
			}
			a.up(t)
			b.up(t)
			ctx, cancel = context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := b.Flush(ctx); err != nil {
				t.Error(err)
			}
			for id, want := range []int64{1, 2, 1} {
				for _, r := range []*replica{a, b} {
					if got := r.version(t, int64(id)); got != want {
						t.Errorf("row %d: version %d, want %d", id, got, want)
					}
				}
				a.stored(t, int64(id))
			}
		})
	}
}

// Redis is used again soon after its return, and what it kept of the time before is not used: the
// process that had invalidations to deliver is gone.
func TestWriterDiesDuringOutage(t *testing.T) {
	for name, level := range levels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			reader, writer := newReplica(t, s.Addr(), db, level), newReplica(t, s.Addr(), db)
			reader.up(t)
			writer.up(t)
			db.commit(1, 1)
			reader.stored(t, 1)
			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
			writer.silence(true) // killed before it sent anything
			writer.write(t, 1, 2)
			time.Sleep(validity + beatEvery)
			if err := s.Resume(); err != nil {
				t.Fatal(err)
			}
			reader.up(t)
			if got := reader.version(t, 1); got != 2 {
				t.Errorf("version %d", got)
			}
		})
	}
}

// A Redis that comes back with what it once saved has invalidations undone.
func TestRestartWithOldData(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	r.up(t)
	db.commit(1, 1)
	r.stored(t, 1)
	if err := s.Client(t).Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.write(t, 1, 2)
	level := r.era.Load().level
	if err := errors.Join(s.Kill(), s.Start()); err != nil {
		t.Fatal(err)
	}
	if s.Client(t).Exists(t.Context(), prefix+keyOf(1)).Val() != 1 {
		t.Fatal("Redis did not bring the old row back: this shows nothing")
	}
	eventually(t, "the restart is noticed", func() bool { return r.era.Load().level != level })
	r.up(t)
	next := newReplica(t, s.Addr(), db)
	next.up(t)
	for name, r := range map[string]*replica{"the same": r, "a new": next} {
		if got := r.version(t, 1); got != 2 {
			t.Errorf("%s process reads version %d", name, got)
		}
	}
}

// switched is a dialer that leads to one of several servers.
type switched struct{ addr atomic.Pointer[string] }

func (s *switched) to(server *testenv.RedisServer) { addr := server.Addr(); s.addr.Store(&addr) }

func (s *switched) options(t *testing.T) func(*Options) {
	return func(o *Options) {
		ro := *o.Redis.(*redis.Client).Options()
		ro.MaxRetries = -1
		ro.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, *s.addr.Load())
		}
		o.Redis = redis.NewClient(&ro)
		t.Cleanup(func() { _ = o.Redis.Close() })
	}
}

func disconnect(t *testing.T, s *testenv.RedisServer) {
	t.Helper()
	for _, kind := range []string{"pubsub", "normal"} {
		err := s.Client(t).ClientKillByFilter(t.Context(), "TYPE", kind, "SKIPME", "yes").Err()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A failover and the way back: the first server has its old rows, its run id and, with some luck,
// the generation that the rows belong to.
func TestFailoverThereAndBack(t *testing.T) {
	one, two, db := server(t), server(t), newDatabase()
	var address switched
	address.to(one)
	r := newReplica(t, one.Addr(), db, withLocal, address.options(t))
	r.up(t)
	db.commit(1, 1)
	r.stored(t, 1)
	c := one.Client(t)
	if err := c.Persist(t.Context(), generation).Err(); err != nil {
		t.Fatal(err)
	}
	to := func(from, target *testenv.RedisServer) {
		level := r.era.Load().level
		address.to(target)
		disconnect(t, from)
		eventually(t, "the failover is noticed", func() bool { return r.era.Load().level != level })
	}
	to(one, two)
	r.write(t, 1, 2)
	if c.Exists(t.Context(), prefix+keyOf(1)).Val() != 1 {
		t.Fatal("the first server lost its row: this shows nothing")
	}
	to(two, one)
	eventually(t, "the back-off ends", r.used)
	if got := r.version(t, 1); got != 2 {
		t.Errorf("version %d", got)
	}
	if r.backOff == 0 {
		t.Error("no back-off after two renewals")
	}
}

func TestBackOffDoubles(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.up(t)
	r.silence(false)
	for i, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
		if err := r.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.backOff; got != want*time.Second {
			t.Errorf("renewal %d: off for %v, want %v s", i, got, want)
		}
		if err := r.heartbeat(t.Context()); err != nil || r.used() == (i > 0) {
			t.Errorf("renewal %d: %v, the shared level is used: %v", i, err, r.used())
		}
	}
	r.renewed -= renewalWindow
	if err := r.renew(t.Context()); err != nil || r.backOff != 0 {
		t.Errorf("%v, off for %v after a calm time", err, r.backOff)
	}
}

// cutOff returns a writer that alone loses Redis with the proxy, and a reader that does not.
func cutOff(t *testing.T) (reader, writer *replica, proxy *testenv.Proxy) {
	s, db := server(t), newDatabase()
	proxy = testenv.NewProxy(t, s.Addr())
	reader = newReplica(t, s.Addr(), db, withLocal)
	writer = newReplica(t, proxy.Addr(), db, withLocal)
	reader.up(t)
	writer.up(t)
	return reader, writer, proxy
}

// The exception to the promises: other replicas read the old row until the writer is back, and the
// writer knows.
func TestWriterAloneIsCutOff(t *testing.T) {
	for name, test := range map[string]struct{ writes, owed int64 }{
		"few writes": {5, 5}, "too many": {mostOwed + 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader, writer, proxy := cutOff(t)
			for id := range int64(5) {
				reader.db.commit(id, 1)
				reader.stored(t, id)
			}
			proxy.Cut()
			for id := range test.writes {
				writer.write(t, id, 2)
			}
			for id := range int64(5) {
				if got := writer.version(t, id); got != 2 {
					t.Errorf("the writer reads version %d", got)
				}
			}
			if got := writer.pending.Load(); got != test.owed {
				t.Errorf("%d invalidations wait, want %d", got, test.owed)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := writer.Flush(ctx); err == nil {
				t.Error("Flush returned nil")
			}
			proxy.Restore()
			ctx, cancel = context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := writer.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			for id := range int64(5) {
				reader.eventuallyReads(t, id, 2)
				writer.eventuallyReads(t, id, 2)
			}
		})
	}
}

// An exit with invalidations left says so, or makes them unnecessary by a new generation.
func TestCloseWithInvalidationsLeft(t *testing.T) {
	t.Run("redis is reached", func(t *testing.T) {
		reader, writer, _ := cutOff(t)
		reader.db.commit(1, 1)
		reader.stored(t, 1)
		writer.silence(true)
		writer.write(t, 1, 2)
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		reader.eventuallyReads(t, 1, 2)
	})
	t.Run("redis refuses the script", func(t *testing.T) {
		s, db := server(t), newDatabase()
		writer := newReplica(t, s.Addr(), db)
		writer.up(t)
		db.commit(1, 1)
		writer.stored(t, 1)
		level := writer.era.Load().level
		writer.silence(true)
		writer.write(t, 1, 2)
		if err := permit(t, s, "-publish"); err != nil {
			t.Fatal(err)
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		if err := permit(t, s, "+publish"); err != nil {
			t.Fatal(err)
		}
		reader := newReplica(t, s.Addr(), db)
		reader.up(t)
		if got := reader.version(t, 1); got != 2 || reader.era.Load().level == level {
			t.Errorf("version %d", got)
		}
	})
	t.Run("redis is not reached", func(t *testing.T) {
		_, writer, proxy := cutOff(t)
		proxy.Cut()
		writer.write(t, 1, 2)
		if err := writer.Close(); err == nil {
			t.Error("Close returned nil")
		}
		// A write after that, as of a request that shutdown overtook, is acknowledged too.
		writer.write(t, 1, 3)
	})
}

// permit changes what the default user may do.
func permit(t *testing.T, s *testenv.RedisServer, rules ...string) error {
	t.Helper()
	args := []any{"acl", "setuser", "default"}
	for _, rule := range rules {
		args = append(args, rule)
	}
	return s.Client(t).Do(t.Context(), args...).Err()
}

// A Redis that answers, and does not do what invalidations need, is unavailable: no replica keeps
// rows that no message could invalidate. The refusal is logged once.
func TestRedisThatRefuses(t *testing.T) {
	type change func(*testing.T, *testenv.RedisServer) error
	acl := func(rules ...string) change {
		return func(t *testing.T, s *testenv.RedisServer) error { return permit(t, s, rules...) }
	}
	replicaOf := func(host, port string) change {
		return func(t *testing.T, s *testenv.RedisServer) error {
			return s.Client(t).ReplicaOf(t.Context(), host, port).Err()
		}
	}
	minReplicas := func(n string) change {
		return func(t *testing.T, s *testenv.RedisServer) error {
			return s.Client(t).ConfigSet(t.Context(), "min-replicas-to-write", n).Err()
		}
	}
	for name, test := range map[string]struct{ refuse, permit change }{
		"acl without DEL":      {acl("-del"), acl("+del")},
		"acl without PUBLISH":  {acl("-publish"), acl("+publish")},
		"acl without channels": {acl("resetchannels"), acl("allchannels")},
		"acl without scripts":  {acl("-eval", "-evalsha"), acl("+eval", "+evalsha")},
		"acl with other keys":  {acl("resetkeys", "~other:*"), acl("allkeys")},
		"a replica":            {replicaOf("127.0.0.1", "1"), replicaOf("NO", "ONE")},
		"writes refused":       {minReplicas("1"), minReplicas("0")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log syncBuffer
			s, db := server(t), newDatabase()
			a, b := newReplica(t, s.Addr(), db, withLocal), newReplica(t, s.Addr(), db, withLocal, func(o *Options) {
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			a.up(t)
			b.up(t)
			db.commit(1, 1)
			a.stored(t, 1)
			b.version(t, 1)
			if got := refusals(t, a.redis); got != nil {
				t.Fatalf("Probe names %q", got)
			}
			if err := test.refuse(t, s); err != nil {
				t.Fatal(err)
			}
			a.write(t, 1, 2)
			if got := a.version(t, 1); got != 2 {
				t.Errorf("the writer reads version %d", got)
			}
			if refusals(t, a.redis) == nil {
				t.Error("Probe names no refusal")
			}
			eventually(t, "it is noticed", func() bool { return !a.used() && !b.used() })
			b.eventuallyReads(t, 1, 2)
			eventually(t, "the refusal is logged", func() bool {
				return strings.Contains(log.String(), "redis is unavailable: rows are read from the database")
			})
			time.Sleep(2 * beatEvery)
			if text := log.String(); strings.Count(text, "redis is unavailable") != 1 || !strings.Contains(text, "heartbeat: ") {
				t.Errorf("logged, want one refusal:\n%s", text)
			}
			if err := test.permit(t, s); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := a.Flush(ctx); err != nil {
				t.Error(err)
			}
			a.up(t)
			b.up(t)
			for _, r := range []*replica{a, b} {
				if got := r.version(t, 1); got != 2 {
					t.Errorf("version %d after it takes writes again", got)
				}
			}
		})
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Without SUBSCRIBE the shared level works, and local rows live half a second.
func TestSubscriptionRefused(t *testing.T) {
	s, db := server(t), newDatabase()
	if err := permit(t, s, "-subscribe"); err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, s.Addr(), db, withLocal)
	eventually(t, "the shared level is used", r.used)
	db.commit(1, 1)
	r.stored(t, 1)
	r.version(t, 1)
	eventually(t, "the local row is not used any more", func() bool { return !r.isLocal(1) })
	if r.isProven() {
		t.Error("the subscription counts as proven")
	}
}

// Where INFO is refused, replicas share rows, and a new connection of the heartbeat counts as
// another server.
func TestInfoRefused(t *testing.T) {
	s, db := server(t), newDatabase()
	if err := permit(t, s, "-info"); err != nil {
		t.Fatal(err)
	}
	a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
	a.up(t)
	b.up(t)
	onSomeRow(t, "the replicas share the row", func(id int64) bool {
		db.commit(id, 1)
		a.stored(t, id)
		queries := db.count()
		b.version(t, id)
		return db.count() == queries
	})
	level := a.era.Load().level
	disconnect(t, s)
	eventually(t, "there is a new generation", func() bool { return a.era.Load().level != level })
}

// Everything counts from when a heartbeat was sent, not from its answer.
func TestValidityCountsFromTheSending(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.up(t)
	r.silence(false)
	var answered time.Duration
	hook := &afterReply{command: "info"}
	hook.next(func() {
		time.Sleep(50 * time.Millisecond)
		answered = r.clock()
	})
	r.beat.AddHook(hook)
	before := r.clock()
	if err := r.heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	until := time.Duration(r.until.Load())
	if until < before+validity || until > answered-50*time.Millisecond+validity {
		t.Errorf("sent after %v, answered at %v, valid until %v", before, answered, until)
	}
}

// An invalidation that is owed again while it is delivered is delivered again; too many become one
// for all.
func TestOwedIsKept(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.up(t)
	r.silence(false)
	deliver := func(keys []string, want int64) {
		t.Helper()
		if err := r.deliver(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
		if got := r.pending.Load(); got != want {
			t.Errorf("%d owed after the delivery of %q, want %d", got, keys, want)
		}
	}
	r.owe("a")
	keys := r.owes()
	r.owe("a") // written again
	deliver(keys, 1)
	deliver(r.owes(), 0)
	for i := range int64(mostOwed + 1) {
		r.owe(keyOf(i))
	}
	if keys = r.owes(); !slices.Equal(keys, []string{allRows}) {
		t.Errorf("%d keys are owed, want one for all", len(keys))
	}
	r.owe("b")
	deliver(keys, 1)
	if keys = r.owes(); !slices.Equal(keys, []string{allRows}) {
		t.Errorf("%q is owed after a write during the renewal, want all", keys)
	}
}
