package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"shares/internal/batch"
)

// LocalOptions of a Local. Key is required; the zero value of anything else means its default.
type LocalOptions[K comparable] struct {
	// Key tells which row the invalidation of a key speaks of, as IDKey does.
	Key func(invalidated string) (K, bool)

	// Size bounds the rows held. Default 100,000.
	Size int

	// Life bounds the age of a row, from the start of the read that brought it, while invalidations arrive. Default 60 s.
	Life time.Duration
}

// IDKey returns the LocalOptions.Key for goctl's keys of the form prefix + id.
func IDKey(prefix string) func(string) (int64, bool) {
	return func(invalidated string) (int64, bool) {
		digits, ok := strings.CutPrefix(invalidated, prefix)
		if !ok {
			return 0, false
		}
		id, err := strconv.ParseInt(digits, 10, 64)
		return id, err == nil
	}
}

// Local is an in-process level in front of a Cache: decoded rows by key, bounded. Its rows are shared by all callers and must not
// be modified. Its methods are safe for concurrent use.
type Local[K comparable, T any] struct {
	cache *Cache
	opts  LocalOptions[K]
	rows  *otter.Cache[K, *row[T]]

	batches *batch.Batcher[*load[K, T]]

	mu    sync.Mutex // also orders stores with voids
	loads map[K]*load[K, T]
}

// row is a row in memory.
type row[T any] struct {
	value   T
	started time.Duration // of the read that brought it
	epoch   uint64        // of the stream, then
}

// load is a read under way. Its result may be read once done is closed.
type load[K comparable, T any] struct {
	ctx  context.Context
	key  K
	read Read[K, T]
	row[T]
	err      error
	finished bool // under Local.mu
	done     chan struct{}
}

// Read reads the rows of some keys, among which one may be twice. It calls answer once for each, by its place in keys; also after it has
// returned, from other goroutines.
type Read[K comparable, T any] = func(ctx context.Context, keys []K, answer func(i int, value T, err error))

// voider is what a Cache knows of its Locals.
type voider interface{ void(keys []string) }

// NewLocal returns an empty level, kept right by c for as long as c is open; it cannot be taken off c again.
func NewLocal[K comparable, T any](c *Cache, o LocalOptions[K]) (*Local[K, T], error) {
	if o.Key == nil {
		return nil, errors.New("cache: LocalOptions.Key is missing")
	}
	if o.Size <= 0 {
		o.Size = 100_000
	}
	if o.Life <= 0 {
		o.Life = time.Minute
	}
	rows, err := otter.New(&otter.Options[K, *row[T]]{MaximumSize: o.Size})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	l := &Local[K, T]{cache: c, opts: o, rows: rows, loads: make(map[K]*load[K, T])}
	l.batches = batch.New(readsAtOnce, mostReads, readLength, l.run)
	c.mu.Lock()
	defer c.mu.Unlock()
	locals := append([]voider{l}, *c.locals.Load()...)
	c.locals.Store(&locals)
	return l, nil
}

// Get returns the row of key if it is in memory and fresh.
func (l *Local[K, T]) Get(key K) (T, bool) {
	if r, ok := l.rows.GetIfPresent(key); ok && l.fresh(r) {
		l.cache.count.local.Inc()
		return r.value, true
	}
	var none T
	return none, false
}

// fresh reports whether r may still be used: always when its read began less than blind ago, and for all of its life as long as
// every invalidation since then must have arrived.
func (l *Local[K, T]) fresh(r *row[T]) bool {
	s := &l.cache.stream
	now := l.cache.clock()
	age := now - r.started
	return age < blind || age < l.opts.Life && int64(now) < s.proven.Load() && r.epoch == s.epoch.Load()
}

// Take returns the row of key from memory, or else by read, whose result is kept unless the key is voided meanwhile. Callers for one
// key share one read, and a read is of several keys where many are asked for at once. It runs under a context that
// does not end with theirs: read has limits of its own. Take returns ctx's error when that ends first, and read's error uncached. All callers should give the
// same read, and one that is a stored func, not a new closure: that keeps a hit free of allocations.
func (l *Local[K, T]) Take(ctx context.Context, key K, read Read[K, T]) (T, error) {
	if value, ok := l.Get(key); ok {
		return value, nil
	}
	ld := l.join(ctx, key, read)
	select {
	case <-ld.done:
		return ld.value, ld.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// join returns the load of key that is under way, or starts one. It leaves alone one that is older than blind, as flights.join does.
func (l *Local[K, T]) join(ctx context.Context, key K, read Read[K, T]) *load[K, T] {
	c := l.cache
	l.mu.Lock()
	defer l.mu.Unlock()
	now := c.clock()
	if ld, ok := l.loads[key]; ok && now-ld.started < blind {
		c.count.joined.Inc()
		return ld
	}
	ld := &load[K, T]{
		ctx: ctx, key: key, read: read,
		row: row[T]{started: now, epoch: c.stream.epoch.Load()}, done: make(chan struct{}),
	}
	l.loads[key] = ld
	l.batches.Add(ld)
	return ld
}

// run reads the rows of loads.
func (l *Local[K, T]) run(loads []*load[K, T]) {
	ctx := context.WithoutCancel(loads[0].ctx)
	keys := make([]K, len(loads))
	for i, ld := range loads {
		keys[i] = ld.key
	}
	answer := func(i int, value T, err error) { l.finish(loads[i], value, err) }
	defer func() {
		// On this goroutine, nobody else would catch it.
		if p := recover(); p != nil {
			l.cache.log.ErrorContext(ctx, "read panicked", "stack", string(debug.Stack()))
			var none T
			for i := range loads {
				answer(i, none, errors.New("cache: read panicked"))
			}
		}
	}()
	loads[0].read(ctx, keys, answer)
}

// finish ends ld, unless it has ended.
func (l *Local[K, T]) finish(ld *load[K, T], value T, err error) {
	if l.keep(ld, value, err) {
		close(ld.done) // not under mu, which those who waited for this may want next
	}
}

// keep notes the result of ld, and keeps its row; first is false where ld has one already.
func (l *Local[K, T]) keep(ld *load[K, T], value T, err error) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ld.finished {
		return false
	}
	ld.finished, ld.value, ld.err = true, value, err
	// Another load, or none: the key was voided, or this took too long.
	if l.loads[ld.key] != ld {
		return true
	}
	delete(l.loads, ld.key)
	if err == nil {
		kept := ld.row
		l.rows.Set(ld.key, &kept)
	}
	return true
}

// void drops the rows of keys, and keeps those being read from being kept.
func (l *Local[K, T]) void(keys []string) {
	for _, invalidated := range keys {
		key, ok := l.opts.Key(invalidated)
		if !ok {
			continue
		}
		l.mu.Lock()
		delete(l.loads, key)
		l.rows.Invalidate(key)
		l.mu.Unlock()
	}
}
