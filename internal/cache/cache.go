package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

const (
	// beatEvery is the time between two heartbeats.
	beatEvery = 200 * time.Millisecond

	// beatTimeout bounds a heartbeat with its dial, beatReply each of its replies.
	beatTimeout = 500 * time.Millisecond
	beatReply   = 300 * time.Millisecond

	// validity is how long a heartbeat proves something, from the moment it was sent.
	validity = 600 * time.Millisecond

	// shortLife bounds the age of a local row that no subscription keeps correct, and of a read
	// that another caller joins.
	shortLife = 500 * time.Millisecond

	// longLife bounds the age of every other local row.
	longLife = time.Minute

	// leaseLife bounds the time between a miss and its fill.
	leaseLife = 3 * time.Second
)

// Options of a Cache. Redis is required; the zero value of any other field is its default.
type Options struct {
	// Redis holds the shared level. Make it with options from Bound. The Cache does not close it.
	Redis redis.UniversalClient

	// Prefix starts every key and channel. Installations that share one Redis need different
	// ones. Default "shares".
	Prefix string

	// Rename turns the key of a generated model into what follows the prefix in Redis. It must be
	// the same in all program versions. Default: the key as it is.
	Rename func(key string) string

	// Unordered says that published messages may arrive in another order than they were sent, as
	// through a proxy before several servers. Local rows then live 500 ms. A *redis.ClusterClient
	// implies it.
	Unordered bool

	// Local bounds the rows in this process's memory. Default 0: none.
	Local int

	TTL          time.Duration // longest life of a value in Redis; default 5 minutes
	Timeout      time.Duration // of each call to Redis; default 100 ms
	Queries      int           // database reads at once; default 24
	QueryTimeout time.Duration // longest wait for one of Queries; default 2 s

	Logger  *slog.Logger          // default: no log
	Metrics prometheus.Registerer // default: not registered
}

func (o Options) withDefaults() Options {
	o.Prefix = cmp.Or(o.Prefix, "shares")
	o.TTL = cmp.Or(o.TTL, 5*time.Minute)
	o.Timeout = cmp.Or(o.Timeout, 100*time.Millisecond)
	o.Queries = cmp.Or(o.Queries, 24)
	o.QueryTimeout = cmp.Or(o.QueryTimeout, 2*time.Second)
	if o.Rename == nil {
		o.Rename = func(key string) string { return key }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if _, ok := o.Redis.(*redis.ClusterClient); ok {
		o.Unordered = true
	}
	return o
}

// Cache is the cache.Cache of goctl's models: a local and a shared level before the database. Its
// methods are safe for concurrent use. None but Flush and Close returns an error because of Redis.
type Cache struct {
	opts  Options
	redis redis.UniversalClient
	beat  redis.UniversalClient // the heartbeat's own connection
	dials atomic.Uint64         // of beat
	log   *slog.Logger
	count metrics
	born  time.Time // the zero of clock

	era      atomic.Pointer[era]
	down     atomic.Bool  // the last call or heartbeat failed: only the heartbeat calls Redis
	until    atomic.Int64 // end of the right to use the shared level, by clock
	offUntil atomic.Int64 // end of the back-off after renewals, by clock
	proven   atomic.Int64 // end of the proof that the subscription is complete, by clock

	pending pending
	queries chan struct{}
	rows    *otter.Cache[string, *row] // nil: no local level
	shapes  sync.Map                   // reflect.Type to string

	mu      sync.Mutex // orders stores in rows with invalidations, and changes of era
	flights map[string]*flight

	heart heart
	kick  chan struct{} // makes the heartbeat come at once
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// era is what a read depends on besides its row. Another one is adopted, compared by address, when
// the level changes or the subscription is a new one; whatever began in an older era is not used.
type era struct {
	level string // see heart; empty before the first heartbeat
}

// New returns a Cache and starts its heartbeat and its subscriber. It does not wait for Redis:
// until the first heartbeat is answered, rows are read from the database. Close it before the
// client.
func New(o Options) (*Cache, error) {
	if o.Redis == nil {
		return nil, errors.New("cache: Options.Redis is missing")
	}
	o = o.withDefaults()
	c := &Cache{
		opts: o, redis: o.Redis, log: o.Logger, born: time.Now(),
		queries: make(chan struct{}, o.Queries),
		flights: make(map[string]*flight),
		kick:    make(chan struct{}, 1),
	}
	c.era.Store(&era{})
	if o.Local > 0 {
		rows, err := otter.New(&otter.Options[string, *row]{MaximumSize: o.Local})
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		c.rows = rows
	}
	var err error
	if c.beat, err = beatClient(o.Redis, &c.dials); err != nil {
		return nil, err
	}
	c.heart = heart{
		channel: channel(o.Prefix), generation: o.Prefix + ":generation",
		name: strconv.FormatUint(rand.Uint64(), 36), renewed: -renewalWindow,
	}
	c.count = newMetrics(o.Metrics, c)

	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.beats(ctx) })
	c.done.Go(func() { c.listen(ctx) })
	return c, nil
}

// Close stops the goroutines and tries once more to deliver the invalidations that wait. What
// cannot be delivered ends with a new generation, and with an error if Redis does not take that
// either: other processes may then read the old rows until TTL.
func (c *Cache) Close() error {
	c.stop()
	c.done.Wait()
	defer c.beat.Close() // nothing is in flight
	c.down.Store(true)
	ctx := context.Background()
	if c.deliver(ctx) != nil && c.renew(ctx) != nil {
		return fmt.Errorf("cache: close: %d invalidations undelivered", c.pending.size())
	}
	return nil
}

// clock returns the time since New. It only moves forward.
func (c *Cache) clock() time.Duration { return time.Since(c.born) }

// usable reports whether a read that began in e may use the shared level.
func (c *Cache) usable(e *era) bool {
	now := int64(c.clock())
	return e == c.era.Load() && !c.down.Load() && now < c.until.Load() &&
		now >= c.offUntil.Load() && c.pending.size() == 0
}

// adopt begins an era with another level.
func (c *Cache) adopt(level string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if level != c.era.Load().level {
		c.era.Store(&era{level})
	}
}

// resubscribed begins an era with another subscription, of which nothing is proven yet.
func (c *Cache) resubscribed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven.Store(0)
	c.era.Store(&era{c.era.Load().level})
}

// DelCtx invalidates keys in Redis and in this process. Call it after the commit and before the
// write is acknowledged; after an unknown outcome of a commit, too. It always returns nil: what
// Redis does not take now is delivered with a later heartbeat, and Flush waits for that.
func (c *Cache) DelCtx(ctx context.Context, keys ...string) error {
	ctx = context.WithoutCancel(ctx) // the commit is done
	for _, key := range keys {
		if c.down.Load() || c.invalidate(ctx, key) != nil {
			c.pending.add(key)
		}
		// Last: a read that took the old row from Redis before must not keep it here.
		c.forget(key)
	}
	c.count.own.Add(float64(len(keys)))
	return nil
}

// Flush returns nil when every invalidation that DelCtx has accepted is in effect in Redis. It
// returns an error when ctx ends first.
func (c *Cache) Flush(ctx context.Context) error {
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if c.pending.size() == 0 {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return fmt.Errorf("cache: invalidations undelivered: %w", context.Cause(ctx))
		}
	}
}

// failed records that a call to Redis returned err. Anything but a refusal by Redis and the end of
// the caller's own context keeps this process from calling Redis until a heartbeat is answered.
func (c *Cache) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.count.errors.Inc()
	if refused(err) {
		return
	}
	c.down.Store(true)
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// refused reports whether err is Redis's own answer.
func refused(err error) bool {
	var refusal redis.Error
	return errors.As(err, &refusal)
}
