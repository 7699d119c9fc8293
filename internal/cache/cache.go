package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/jsonx"
	gozero "github.com/zeromicro/go-zero/core/stores/cache"

	"shares/internal/batch"
)

const (
	// beatEvery is the time between two proofs that Redis answers; retryEvery the same while it does not, or while invalidations
	// are waiting for it.
	beatEvery  = 200 * time.Millisecond
	retryEvery = 100 * time.Millisecond

	// window is how long one proof is believed. It is the longest that a process goes on using what it has when Redis has
	// stopped answering it, and an interruption longer than this is an outage.
	window = 600 * time.Millisecond

	// blind is the age, from the start of its read, up to which a row needs no proof at all: what a reader may get from this
	// process's memory, or from somebody else's read under way, while the stream of invalidations is silent.
	blind = 500 * time.Millisecond

	// leaseLife is how long a reader may take between its miss and its fill. A reader that dies keeps others from filling for so
	// long.
	leaseLife = 3 * time.Second

	// deliverAtOnce bounds the invalidations that are delivered in one round trip after an outage.
	deliverAtOnce = 256

	// readsAtOnce is how many reads of several keys are under way at once, at Redis and at the database each, as long as they are quick;
	// mostReads, while they are not.
	readsAtOnce = 2
	mostReads   = 32

	// readLength bounds the keys of one read.
	readLength = 64
)

// Options of a Cache. Redis is required; the zero value of anything else means its default.
type Options struct {
	// Redis holds the shared level. It should be made with options that went through Bound. A *redis.ClusterClient must not have
	// been used before. The Cache does not close it.
	Redis redis.UniversalClient

	// Namespace separates the keys and channels of installations that share one Redis. Default "shares".
	Namespace string

	// Schema names the shape of the cached rows. A program with another shape does not read this one's values, so that a column
	// added by a rolling update is not read as empty; both void each other's values all the same.
	Schema string

	// Unordered says that messages published through one connection may arrive out of order at another's, as with a proxy in
	// front of several nodes; a *redis.ClusterClient implies it. The in-process level then trusts no row older than 500 ms.
	Unordered bool

	// TTL is the longest life of a value in the shared level. Lives are spread over its last fifth. Default 5 minutes.
	TTL time.Duration

	// Timeout bounds each Redis call, besides the caller's context. Default 100 ms.
	Timeout time.Duration

	// QueryTimeout bounds a query of TakeMany, which no caller's context ends. Default 2 s.
	QueryTimeout time.Duration

	// Queries bounds the reads that are in the database at once, so that losing Redis does not mean losing the database too.
	// More of them wait, as long as their contexts let them. Default 64.
	Queries int

	// Pending bounds the keys of invalidations waiting for Redis. One more, and everything cached before is void. Default 100,000.
	Pending int

	Logger  *slog.Logger          // default: no log
	Metrics prometheus.Registerer // default: not registered
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = "shares"
	}
	if o.TTL <= 0 {
		o.TTL = 5 * time.Minute
	}
	if o.Timeout <= 0 {
		o.Timeout = 100 * time.Millisecond
	}
	if o.QueryTimeout <= 0 {
		o.QueryTimeout = 2 * time.Second
	}
	if o.Queries <= 0 {
		o.Queries = 64
	}
	if o.Pending <= 0 {
		o.Pending = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if _, ok := o.Redis.(*redis.ClusterClient); ok {
		o.Unordered = true
	}
	return o
}

// Cache is the shared level: rows in Redis, kept right by leases. It is the cache.Cache of goctl's models, and the owner of what
// the in-process levels (Local) need to know. Its methods are safe for concurrent use. No method returns an error because of
// Redis, except Flush.
type Cache struct {
	opts  Options
	redis redis.UniversalClient
	apart bool // the keys may be on several servers
	log   *slog.Logger
	count metrics
	born  time.Time // the zero of clock

	link    link
	stream  stream
	pending pending
	flights flights
	queries chan struct{}
	misses  *batch.Batcher[miss]
	fills   *batch.Batcher[fill]

	locals atomic.Pointer[[]voider] // copied on write under mu
	mu     sync.Mutex

	stop context.CancelFunc
	done sync.WaitGroup
}

var _ gozero.Cache = (*Cache)(nil)

// New returns a Cache and starts its two goroutines: the heartbeat, which also delivers late invalidations, and the subscriber. It
// does not wait for Redis; until the first heartbeat came back, reads go to the database. Close it before the client.
func New(o Options) (*Cache, error) {
	if o.Redis == nil {
		return nil, errors.New("cache: Options.Redis is missing")
	}
	if idleInAdvance(o.Redis) {
		// See dialHook: such connections would be kept for later, dead.
		return nil, errors.New("cache: Options.Redis must not have MinIdleConns")
	}
	o = o.withDefaults()
	c := &Cache{
		opts:    o,
		redis:   o.Redis,
		log:     o.Logger,
		born:    time.Now(),
		queries: make(chan struct{}, o.Queries),
	}
	c.locals.Store(&[]voider{})
	c.link.kick = make(chan struct{}, 1)
	changed := make(chan struct{})
	c.link.changed.Store(&changed)
	c.pending.limit = o.Pending
	c.flights.now = c.clock
	c.apart = o.Unordered
	c.stream.void = o.Namespace + ":row:void"
	c.stream.beat = o.Namespace + ":row:beat:" + strconv.FormatUint(rand.Uint64(), 36)
	c.misses = batch.New(readsAtOnce, mostReads, readLength, c.read)
	c.fills = batch.New(1, 4, deliverAtOnce, func(fills []fill) { c.settle(fills[0].ctx, fills) })
	c.count = newMetrics(o.Metrics, c)
	c.link.watch(o.Redis)

	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.beats(ctx) })
	c.done.Go(func() { c.listen(ctx) })
	return c, nil
}

func idleInAdvance(client redis.UniversalClient) bool {
	switch client := client.(type) {
	case *redis.Client:
		return client.Options().MinIdleConns > 0
	case *redis.ClusterClient:
		return client.Options().MinIdleConns > 0
	}
	return false
}

// Close stops the goroutines after one last attempt to deliver the invalidations that wait. It returns an error when some could not
// be: other processes may then read the old rows until TTL.
func (c *Cache) Close() error {
	c.stop()
	c.done.Wait()
	c.link.show(nil)
	for c.pending.size() > 0 {
		if err := c.deliver(context.Background()); err != nil {
			return fmt.Errorf("cache: close with invalidations undelivered: %w", err)
		}
	}
	return nil
}

// clock returns the time since New. It only moves forward.
func (c *Cache) clock() time.Duration { return time.Since(c.born) }

// Del is DelCtx without a context.
func (c *Cache) Del(keys ...string) error { return c.DelCtx(context.Background(), keys...) }

// DelCtx voids the values of keys in Redis, in every process's memory and in the hands of the readers that are about to store
// them. Call it after the write is committed and before it is acknowledged. It always returns nil: what Redis does not take now is
// delivered by a goroutine as soon as it can be (Flush waits for that), whatever becomes of ctx.
func (c *Cache) DelCtx(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	// The commit is done; a caller who has left must not keep others from learning of it.
	ctx = context.WithoutCancel(ctx)
	if c.link.down.Load() {
		c.pending.add(keys)
		c.link.wake()
	} else if err := c.void(ctx, keys); err != nil {
		c.pending.add(keys)
		c.failed(ctx, err)
		c.link.wake()
	}
	// Last, so that whatever a reader of this process took from Redis before it was voided there is voided with it.
	c.forget(keys)
	c.count.voidsOwn.Add(float64(len(keys)))
	return nil
}

// Flush returns nil when every invalidation that this process has acknowledged so far is in effect in Redis: from then on, every
// process that reaches Redis stops using the old values within a second. It returns an error when ctx ends first: then this cannot
// be said.
func (c *Cache) Flush(ctx context.Context) error {
	drained := c.pending.drained()
	c.link.wake()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cache: invalidations undelivered: %w", context.Cause(ctx))
	}
}

// used reports whether the shared level is in use.
func (c *Cache) used() bool {
	v := c.link.view.Load()
	return v != nil && c.clock() < v.until
}

// forget voids keys in this process: the in-process rows and the reads under way.
func (c *Cache) forget(keys []string) {
	c.flights.forget(keys)
	for _, l := range *c.locals.Load() {
		l.void(keys)
	}
}

// Get is GetCtx without a context.
func (c *Cache) Get(key string, val any) error { return c.GetCtx(context.Background(), key, val) }

// GetCtx decodes the shared value of key into val. It returns sql.ErrNoRows when there is none that can be trusted.
func (c *Cache) GetCtx(ctx context.Context, key string, val any) error {
	found := c.lookup(ctx, []string{key}, false)[0]
	if found.state != hit {
		return sql.ErrNoRows
	}
	return decode(found.row, val)
}

// IsNotFound reports whether err says that there is no such row.
func (c *Cache) IsNotFound(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// Set does nothing, as SetCtx.
func (c *Cache) Set(string, any) error { return nil }

// SetCtx does nothing: a value whose reader held no lease may be older than the last invalidation, and would stay. The next Take of
// the key stores it.
func (c *Cache) SetCtx(context.Context, string, any) error { return nil }

// SetWithExpire does nothing, as SetCtx.
func (c *Cache) SetWithExpire(string, any, time.Duration) error { return nil }

// SetWithExpireCtx does nothing, as SetCtx. goctl's FindOneBy… calls it for the row's primary key.
func (c *Cache) SetWithExpireCtx(context.Context, string, any, time.Duration) error { return nil }

// Take is TakeCtx without a context.
func (c *Cache) Take(val any, key string, query func(val any) error) error {
	return c.TakeCtx(context.Background(), val, key, query)
}

// TakeCtx fills val, a pointer, from the shared level or by query, and then stores what query found unless the key was voided in
// between. Calls for one key share one query; a caller leaves when its ctx ends. It returns query's error, sql.ErrNoRows among them, or
// ctx's. That there is no row is not kept: nobody asks for one who has not been told its key.
func (c *Cache) TakeCtx(ctx context.Context, val any, key string, query func(val any) error) error {
	return c.take(ctx, val, key, c.life(), query)
}

// TakeWithExpire is TakeWithExpireCtx without a context.
func (c *Cache) TakeWithExpire(val any, key string, query func(val any, expire time.Duration) error) error {
	return c.TakeWithExpireCtx(context.Background(), val, key, query)
}

// TakeWithExpireCtx is TakeCtx, telling query the life that the value will have.
func (c *Cache) TakeWithExpireCtx(ctx context.Context, val any, key string, query func(val any, expire time.Duration) error) error {
	life := c.life()
	return c.take(ctx, val, key, life, func(val any) error { return query(val, life) })
}

// life returns a time to live within the last fifth of TTL, so that rows cached together do not go together, and none lives longer
// than promised.
func (c *Cache) life() time.Duration { return c.opts.TTL - rand.N(c.opts.TTL/5+1) }

func (c *Cache) take(ctx context.Context, val any, key string, life time.Duration, query func(any) error) error {
	for {
		f, first := c.flights.join(key)
		if first {
			return c.lead(ctx, f, val, key, life, query)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.answered {
			return f.deliver(val)
		}
		// Whoever led the flight left it; that was its own context, not ours.
	}
}

// lead reads for all that joined f, in the caller's goroutine: goctl's queries write to the caller's variables and carry its
// context, so they cannot outlive it.
func (c *Cache) lead(ctx context.Context, f *flight, val any, key string, life time.Duration, query func(any) error) error {
	defer c.flights.land(key, f)

	found := c.lookup(ctx, []string{key}, true)[0]
	if found.state == hit && c.known(ctx, key, found, val) {
		f.answer(found.row, nil)
		return nil
	}
	if err := c.enter(ctx); err != nil {
		c.settle(ctx, found.release(ctx, key))
		return err
	}
	c.count.database.Inc()
	err := func() error {
		defer func() { <-c.queries }()
		return query(val)
	}()
	if row, ok := c.encode(ctx, val, err); ok {
		// The waiters need not wait for the store; if the key is voided meanwhile, no one joins any more.
		f.answer(row, nil)
		c.settle(ctx, found.store(ctx, key, row, life))
		return nil
	}
	if err != nil && ctx.Err() == nil {
		f.answer(nil, err)
	}
	c.settle(ctx, found.release(ctx, key))
	return err
}

// Query reads the rows of keys from the database into vals, and returns an error for each: sql.ErrNoRows where there is none. One key may be
// there twice.
type Query = func(ctx context.Context, keys []string, vals []any) []error

// TakeMany is TakeCtx for several keys together: what Redis knows of them takes one round trip, and what it does not know one query, shared
// with other calls. vals are pointers, to where the rows of keys go. query runs under a context of its own, that ends with
// QueryTimeout. TakeMany calls done once for each key, with nil where there is a row: at once for what Redis
// knows, and later, from another goroutine, for the others. Calls for one key at the same time are not joined: that is what Local does.
func (c *Cache) TakeMany(ctx context.Context, keys []string, vals []any, query Query, done func(i int, err error)) {
	var missing []miss
	for i, found := range c.lookup(ctx, keys, true) {
		if found.state == hit && c.known(ctx, keys[i], found, vals[i]) {
			done(i, nil)
			continue
		}
		missing = append(missing, miss{ctx, keys[i], vals[i], found, query, func(err error) { done(i, err) }})
	}
	c.misses.Add(missing...)
}

// miss is a row that has to come from the database.
type miss struct {
	ctx   context.Context
	key   string
	val   any
	found found
	query Query
	done  func(error)
}

// read reads rows from the database.
func (c *Cache) read(misses []miss) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(misses[0].ctx), c.opts.QueryTimeout)
	defer cancel()
	keys, vals := make([]string, len(misses)), make([]any, len(misses))
	for i, m := range misses {
		keys[i], vals[i] = m.key, m.val
	}
	errs := c.queried(ctx, keys, vals, misses[0].query)
	fills := make([]fill, 0, len(misses))
	for i, m := range misses {
		if row, ok := c.encode(ctx, m.val, errs[i]); ok {
			fills = append(fills, m.found.store(ctx, m.key, row, c.life())...)
		} else {
			fills = append(fills, m.found.release(ctx, m.key)...)
		}
	}
	c.fills.Add(fills...)
	for i, m := range misses {
		m.done(errs[i])
	}
}

// queried is query in a place among the queries, with a panic of it as an error.
func (c *Cache) queried(ctx context.Context, keys []string, vals []any, query Query) (errs []error) {
	all := func(err error) []error { return slices.Repeat([]error{err}, len(vals)) }
	if err := c.enter(ctx); err != nil {
		return all(err)
	}
	defer func() { <-c.queries }()
	defer func() {
		// On this goroutine, nobody else would catch it.
		if p := recover(); p != nil {
			c.log.ErrorContext(ctx, "query panicked", "stack", string(debug.Stack()))
			errs = all(errors.New("cache: query panicked"))
		}
	}()
	c.count.database.Add(float64(len(vals)))
	return query(ctx, keys, vals)
}

// known decodes into val what the shared level has of key, and reports whether that could be done.
func (c *Cache) known(ctx context.Context, key string, f found, val any) bool {
	if err := decode(f.row, val); err != nil {
		// Not what this program stores. A void is all that helps: whoever reads next may fill.
		c.log.WarnContext(ctx, "cached row cannot be decoded")
		c.expunge(ctx, key)
		return false
	}
	c.count.shared.Inc()
	return true
}

// encode returns the row that a query put into val, as the shared level keeps it, if the query's err is nil and it can be encoded.
func (c *Cache) encode(ctx context.Context, val any, err error) (row []byte, ok bool) {
	if err != nil {
		return nil, false
	}
	row, err = json.Marshal(val)
	if err != nil {
		// The caller has its row; only nobody else gets it from here.
		c.log.ErrorContext(ctx, "row cannot be cached", "type", fmt.Sprintf("%T", val))
		return nil, false
	}
	return row, true
}

// enter waits for a place among the queries in the database; the caller gives it back.
func (c *Cache) enter(ctx context.Context) error {
	select {
	case c.queries <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decode is the reverse of encode.
func decode(row []byte, val any) error {
	unmarshal := func(data []byte, val any) error { return json.Unmarshal(data, val) } // takes a third of encoding/json's time
	if _, ok := val.(*any); ok {
		unmarshal = jsonx.Unmarshal // keeps a number, goctl's primary key in an index, exact
	}
	if err := unmarshal(row, val); err != nil {
		// The error may hold a part of somebody's row.
		return errors.New("cache: value is not a row of this program")
	}
	return nil
}
