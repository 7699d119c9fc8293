package cache

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/stores/cache"
)

const (
	beatEvery   = 200 * time.Millisecond // between two heartbeats
	beatTimeout = 500 * time.Millisecond // of a heartbeat with its dial
	beatReply   = 300 * time.Millisecond // of each of its replies
	validity    = 600 * time.Millisecond // of a heartbeat, counted from when it was sent

	// shortLife is the highest age of a local row without a proven subscription, and of a read
	// that another caller may join.
	shortLife = 500 * time.Millisecond
	longLife  = time.Minute     // of every other local row
	leaseLife = 3 * time.Second // between a miss and its fill
)

// Options configure a Cache. Redis, Servers and Prefix are required; all other fields have defaults.
type Options struct {
	Redis   redis.UniversalClient  // the shared level, from NewClient; the Cache does not close it
	Servers redis.UniversalOptions // of Redis; the heartbeat has a client of its own
	Timeout time.Duration          // of a call to Redis; default 100 ms
	Prefix  string                 // of the keys and the channel

	// Proxy says that Redis is a proxy in front of several servers: messages may overtake each
	// other, and INFO describes any server.
	Proxy bool

	Local   int                   // rows in this process's memory; default none
	TTL     time.Duration         // longest life of a value in Redis; default 5 minutes
	Logger  *slog.Logger          // default: no log
	Metrics prometheus.Registerer // default: not registered
}

// Cache caches the rows of goctl's models in a local and a shared level. Its methods are safe for
// concurrent use. Only Flush and Close return errors of Redis.
type Cache struct {
	cache.Cache // nil: the models call TakeCtx, GetCtx and DelCtx only

	redis   redis.UniversalClient
	prefix  string        // of keys and the channel
	timeout time.Duration // of a call to redis
	ordered bool          // messages arrive in the order in which they were sent
	proxy   bool
	ttl     time.Duration
	log     *slog.Logger
	count   metrics
	born    time.Time // the zero of clock

	era     atomic.Pointer[era]
	until   atomic.Int64 // end of the right to use the shared level, by clock; 0: Redis is unavailable
	proven  atomic.Int64 // end of the proof that the subscription is complete, by clock
	pending atomic.Int64 // the length of owed

	rows  *otter.Cache[string, *read]
	local bool

	mu    sync.Mutex // orders stores in rows, invalidations and changes of era
	reads map[string]*read
	owed  map[string]bool // keys to invalidate in Redis; true: written again since owes

	name string // of this process in its heartbeats
	stop context.CancelFunc
	done sync.WaitGroup

	// The heartbeat's goroutine owns these. It has its own client with a connection to each server,
	// because requests may use up the pool.
	beat     redis.UniversalClient
	servers  string        // run ids of the last heartbeat; others mean a restart or a failover
	renewed  time.Duration // when this process last renewed the generation
	backOff  time.Duration
	offUntil time.Duration // end of the back-off
}

// era is a period with one level and one subscription; eras are compared by address. Reads that
// began in an older era, and their rows, are not used.
type era struct {
	level string // see Cache.ask; empty before the first heartbeat
}

// New returns a Cache and starts its heartbeat and its subscriber. It does not wait for Redis: rows
// are read from the database until the first heartbeat succeeds. Close the Cache before the client.
func New(o Options) *Cache {
	c := &Cache{
		redis:   o.Redis,
		timeout: cmp.Or(o.Timeout, 100*time.Millisecond),
		prefix:  o.Prefix + ":",
		proxy:   o.Proxy,
		ttl:     cmp.Or(o.TTL, 5*time.Minute),
		log:     cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		born:    time.Now(),
		rows:    otter.Must(&otter.Options[string, *read]{MaximumSize: max(1, o.Local)}),
		local:   o.Local > 0,
		reads:   make(map[string]*read),
		owed:    make(map[string]bool),
		name:    rand.Text(),

		renewed: -renewalWindow,
	}
	o.Servers.PoolSize = 1
	c.beat = NewClient(o.Servers, beatReply)
	_, cluster := c.beat.(*redis.ClusterClient)
	c.ordered = !cluster && !o.Proxy
	c.era.Store(&era{})
	c.count = newMetrics(o.Metrics, c)

	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.beats(ctx) })
	c.done.Go(func() { c.listen(ctx) })
	return c
}

// Close stops the goroutines and tries once more to deliver pending invalidations. If that fails,
// it renews the generation. If that fails too, it returns an error: other processes may then read
// the old rows until TTL.
func (c *Cache) Close() error {
	c.stop()
	c.done.Wait()
	defer c.beat.Close() // nothing is in flight
	if c.pending.Load() == 0 {
		return nil
	}
	ctx := context.Background()
	if c.heartbeat(ctx) != nil && c.renew(ctx) != nil {
		return fmt.Errorf("cache: close: %d invalidations undelivered", c.pending.Load())
	}
	return nil
}

// clock returns the time since New. It is never 0 and never goes back.
func (c *Cache) clock() time.Duration { return time.Since(c.born) + 1 }

// usable reports whether a read that began in e may use the shared level.
func (c *Cache) usable(e *era) bool {
	return e == c.era.Load() && int64(c.clock()) < c.until.Load() && c.pending.Load() == 0
}

// isProven reports whether it is certain that the subscription has missed no message.
func (c *Cache) isProven() bool { return int64(c.clock()) < c.proven.Load() }

// adopt begins a new era if level differs from the current one.
func (c *Cache) adopt(level string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if level != c.era.Load().level {
		c.era.Store(&era{level})
	}
}

// resubscribed begins an era with a new subscription, which is not proven yet.
func (c *Cache) resubscribed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven.Store(0)
	c.era.Store(&era{c.era.Load().level})
}
