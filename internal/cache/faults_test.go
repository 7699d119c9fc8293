package cache

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
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
			for id := range int64(3) {
				db.commit(id, 1)
				a.version(t, id)
				b.version(t, id)
			}
			must(t, outage.leave(s))
			call := func() {
				a.version(t, 0)
				b.write(t, 1, 2)
				b.wants(t, 1, 2)
			}
			call()
			for _, r := range []*replica{a, b} {
				eventually(t, "a heartbeat fails", func() bool { return r.until.Load() == 0 })
			}
			failed := func() float64 {
				return testutil.ToFloat64(a.count.errors) + testutil.ToFloat64(b.count.errors)
			}
			before := failed()
			for range 100 {
				call()
			}
			if got := failed(); got > before {
				t.Errorf("%v calls waited for an unavailable Redis, want 0", got-before)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Flush: %v, want %v", err, context.DeadlineExceeded)
			}
			time.Sleep(2 * validity)
			must(t, outage.back(s))
			a.up(t)
			b.up(t)
			b.flush(t)
			for id, want := range []int64{1, 2, 1} {
				for _, r := range []*replica{a, b} {
					r.wants(t, int64(id), want)
				}
				a.stored(t, int64(id))
			}
		})
	}
}

// After an outage, rows from before it are not used, because a process that had invalidations to
// deliver may have died.
func TestWriterDiesDuringOutage(t *testing.T) {
	for name, level := range levels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := server(t), newDatabase()
			reader, writer := newReplica(t, s.Addr(), db, level), newReplica(t, s.Addr(), db)
			db.commit(1, 1)
			reader.stored(t, 1)
			must(t, s.Pause())
			writer.silence(true) // killed before it sent anything
			writer.write(t, 1, 2)
			time.Sleep(validity + beatEvery)
			must(t, s.Resume())
			reader.up(t)
			reader.wants(t, 1, 2)
		})
	}
}

// A Redis that restarts with old data has lost invalidations.
func TestRestartWithOldData(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db)
	db.commit(1, 1)
	r.stored(t, 1)
	must(t, s.Client(t).Save(t.Context()).Err())
	r.write(t, 1, 2)
	level := r.era.Load().level
	must(t, errors.Join(s.Kill(), s.Start()))
	if s.Client(t).Exists(t.Context(), prefix+keyOf(1)).Val() != 1 {
		t.Fatal("Redis did not restore the old row, so the test shows nothing")
	}
	eventually(t, "the restart is noticed", func() bool { return r.era.Load().level != level })
	r.up(t)
	next := newReplica(t, s.Addr(), db)
	r.wants(t, 1, 2)
	next.wants(t, 1, 2)
}

// switched is an address that can be switched between servers.
type switched struct{ addr atomic.Pointer[string] }

func (s *switched) to(server *testenv.RedisServer) { addr := server.Addr(); s.addr.Store(&addr) }

func (s *switched) option(o *Options) {
	o.Servers.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, *s.addr.Load())
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

// After a failover and its reversal, the first server has its old rows, its old run id and, in the
// worst case, the generation of these rows.
func TestFailoverThereAndBack(t *testing.T) {
	one, two, db := server(t), server(t), newDatabase()
	var address switched
	address.to(one)
	r := newReplica(t, one.Addr(), db, withLocal, address.option)
	db.commit(1, 1)
	r.stored(t, 1)
	c := one.Client(t)
	must(t, c.Persist(t.Context(), prefix+generation).Err())
	to := func(from, target *testenv.RedisServer) {
		level := r.era.Load().level
		address.to(target)
		disconnect(t, from)
		eventually(t, "the failover is noticed", func() bool { return r.era.Load().level != level })
	}
	to(one, two)
	r.write(t, 1, 2)
	if c.Exists(t.Context(), prefix+keyOf(1)).Val() != 1 {
		t.Fatal("the first server lost its row, so the test shows nothing")
	}
	to(two, one)
	eventually(t, "the back-off ends", r.used)
	r.wants(t, 1, 2)
	if r.backOff == 0 {
		t.Error("no back-off after two renewals")
	}
}

func TestBackOffDoubles(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.silence(false)
	for i, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
		must(t, r.renew(t.Context()))
		if got := r.backOff; got != want*time.Second {
			t.Errorf("renewal %d: off for %v, want %v s", i, got, want)
		}
		if err := r.heartbeat(t.Context()); err != nil || r.used() == (i > 0) {
			t.Errorf("renewal %d: %v, the shared level is used: %v", i, err, r.used())
		}
	}
	r.renewed -= renewalWindow
	if err := r.renew(t.Context()); err != nil || r.backOff != 0 {
		t.Errorf("after renewalWindow: %v, off for %v, want no back-off", err, r.backOff)
	}
}

// cutOff returns a reader, and a writer that reaches Redis only through the proxy.
func cutOff(t *testing.T) (reader, writer *replica, proxy *testenv.Proxy) {
	s, db := server(t), newDatabase()
	proxy = testenv.NewProxy(t, s.Addr())
	reader = newReplica(t, s.Addr(), db, withLocal)
	writer = newReplica(t, proxy.Addr(), db, withLocal)
	return reader, writer, proxy
}

// An exception to the promises: if only the writer loses Redis, other replicas read the old row
// until it is connected again. The writer reports pending invalidations.
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
				writer.wants(t, id, 2)
			}
			if got := writer.pending.Load(); got != test.owed {
				t.Errorf("%d pending invalidations, want %d", got, test.owed)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := writer.Flush(ctx); err == nil {
				t.Error("Flush returned nil, want an error")
			}
			proxy.Restore()
			writer.flush(t)
			for id := range int64(5) {
				reader.eventuallyReads(t, id, 2)
				writer.eventuallyReads(t, id, 2)
			}
		})
	}
}

// Close delivers pending invalidations, renews the generation, or returns an error.
func TestCloseWithInvalidationsLeft(t *testing.T) {
	t.Run("redis is reached", func(t *testing.T) {
		reader, writer, _ := cutOff(t)
		reader.db.commit(1, 1)
		reader.stored(t, 1)
		writer.silence(true)
		writer.write(t, 1, 2)
		must(t, writer.Close())
		reader.eventuallyReads(t, 1, 2)
	})
	t.Run("redis refuses the script", func(t *testing.T) {
		s, db := server(t), newDatabase()
		writer := newReplica(t, s.Addr(), db)
		db.commit(1, 1)
		writer.stored(t, 1)
		level := writer.era.Load().level
		writer.silence(true)
		writer.write(t, 1, 2)
		must(t, permit(t, s, "-publish"))
		must(t, writer.Close())
		must(t, permit(t, s, "+publish"))
		reader := newReplica(t, s.Addr(), db)
		if got := reader.version(t, 1); got != 2 || reader.era.Load().level == level {
			t.Errorf("version %d, want 2 and another level", got)
		}
	})
	t.Run("redis is not reached", func(t *testing.T) {
		_, writer, proxy := cutOff(t)
		proxy.Cut()
		writer.write(t, 1, 2)
		if err := writer.Close(); err == nil {
			t.Error("Close returned nil, want an error")
		}
		// A write after Close, of a request that outlives the shutdown, is acknowledged too.
		writer.write(t, 1, 3)
	})
}

// permit changes the ACL rules of the default user.
func permit(t *testing.T, s *testenv.RedisServer, rules ...string) error {
	t.Helper()
	args := []any{"acl", "setuser", "default"}
	for _, rule := range rules {
		args = append(args, rule)
	}
	return s.Client(t).Do(t.Context(), args...).Err()
}

// A Redis that answers but refuses a command of invalidations is unavailable, so no replica keeps
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
			a := newReplica(t, s.Addr(), db, withLocal)
			b := newReplica(t, s.Addr(), db, withLocal, func(o *Options) {
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			db.commit(1, 1)
			a.stored(t, 1)
			b.version(t, 1)
			if got := refusals(t, a.redis); got != nil {
				t.Fatalf("Probe reports %q, want no refusal", got)
			}
			must(t, test.refuse(t, s))
			a.write(t, 1, 2)
			a.wants(t, 1, 2)
			if refusals(t, a.redis) == nil {
				t.Error("Probe reports no refusal")
			}
			eventually(t, "both replicas stop using Redis", func() bool { return !a.used() && !b.used() })
			eventually(t, "no heartbeat proves a subscription", func() bool { return !a.isProven() && !b.isProven() })
			b.eventuallyReads(t, 1, 2)
			eventually(t, "the refusal is logged", func() bool {
				return strings.Contains(log.String(), "redis is unavailable: rows are read from the database")
			})
			time.Sleep(2 * beatEvery)
			text := log.String()
			if strings.Count(text, "redis is unavailable") != 1 || !strings.Contains(text, "heartbeat: ") {
				t.Errorf("want one refusal in the log, got:\n%s", text)
			}
			must(t, test.permit(t, s))
			a.flush(t)
			a.up(t)
			b.up(t)
			for _, r := range []*replica{a, b} {
				r.wants(t, 1, 2)
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

// If SUBSCRIBE is refused, the shared level works and local rows live half a second.
func TestSubscriptionRefused(t *testing.T) {
	s, db := server(t), newDatabase()
	r := newReplica(t, s.Addr(), db, withLocal)
	must(t, permit(t, s, "-subscribe"))
	must(t, s.Client(t).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
	eventually(t, "the subscription is not proven", func() bool { return !r.isProven() })
	db.commit(1, 1)
	r.stored(t, 1)
	eventually(t, "the local row expires", func() bool { return !r.isLocal(1) })
}

// If INFO is refused, replicas still share rows. A new connection of the heartbeat counts as
// another server.
func TestInfoRefused(t *testing.T) {
	s, db := server(t), newDatabase()
	must(t, permit(t, s, "-info"))
	a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
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

// The validity counts from when a heartbeat was sent, not from its reply.
func TestValidityCountsFromTheSending(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.silence(false)
	var answered time.Duration
	hook := &afterReply{command: "info"}
	hook.next(func() {
		time.Sleep(50 * time.Millisecond)
		answered = r.clock()
	})
	r.beat.AddHook(hook)
	before := r.clock()
	must(t, r.heartbeat(t.Context()))
	until := time.Duration(r.until.Load())
	if until < before+validity || until > answered-50*time.Millisecond+validity {
		t.Errorf("sent after %v, answered at %v, valid until %v, want 600 ms after sending",
			before, answered, until)
	}
}

// A key that is written again during the delivery is delivered again.
func TestOwedIsKept(t *testing.T) {
	r := newReplica(t, server(t).Addr(), newDatabase())
	r.silence(false)
	deliver := func(keys []string, want int64) {
		t.Helper()
		must(t, r.deliver(t.Context(), keys))
		if got := r.pending.Load(); got != want {
			t.Errorf("%d owed after the delivery of %q, want %d", got, keys, want)
		}
	}
	r.owe("a")
	keys := r.owes()
	r.owe("a") // written again
	deliver(keys, 1)
	deliver(r.owes(), 0)
}

// Killed or demoted, the master of sentinels is replaced, and its old rows are not used.
func TestSentinelFailover(t *testing.T) {
	for name, leave := range map[string]func(*testing.T, *testenv.RedisServer, *redis.SentinelClient) error{
		"the master is killed": func(_ *testing.T, master *testenv.RedisServer, _ *redis.SentinelClient) error {
			return master.Kill()
		},
		"an operator switches": func(t *testing.T, _ *testenv.RedisServer, c *redis.SentinelClient) error {
			return c.Failover(t.Context(), testenv.SentinelMaster).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master, db := server(t), newDatabase()
			next := testenv.ReplicaOf(t, master)
			sentinel := testenv.Sentinel(t, master)
			asked := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr()})
			t.Cleanup(func() { _ = asked.Close() })
			eventually(t, "the sentinel knows the replica", func() bool {
				replicas := asked.Replicas(t.Context(), testenv.SentinelMaster).Val()
				return len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
			})
			onSentinel := func(o *Options) {
				o.Local = 1000
				o.Servers.MasterName = testenv.SentinelMaster
			}
			a, b := newReplica(t, sentinel.Addr(), db, onSentinel), newReplica(t, sentinel.Addr(), db, onSentinel)
			db.commit(1, 1)
			a.stored(t, 1)
			b.version(t, 1)
			level := a.era.Load().level
			must(t, leave(t, master, asked))
			eventually(t, "the failover is noticed", func() bool {
				a.version(t, 1) // never fails
				return a.era.Load().level != level
			})
			a.write(t, 1, 2)
			for _, r := range []*replica{a, b} {
				eventually(t, "the new master is used", func() bool { return r.used() && r.isProven() })
				r.eventuallyReads(t, 1, 2)
			}
			a.stored(t, 1)
			if next.Client(t).Exists(t.Context(), prefix+keyOf(1)).Val() != 1 {
				t.Error("the row is not in the new master")
			}
		})
	}
}
