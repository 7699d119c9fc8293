package cache

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	mathrand "math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
)

// A key in Redis holds the level, the shape of the row's type, the kind, and then the row as JSON
// or the token of a lease. Content of another level or shape counts as absent.
const (
	kindValue = "V"
	kindLease = "L"
)

// read is a read in flight, and later its row in memory.
type read struct {
	era     *era
	started time.Duration

	done  chan struct{} // closed when value and err may be read
	value reflect.Value
	err   error // if both are unset, the leader's context ended
	long  bool  // a row in memory may live for longLife
}

// TakeCtx fills val, a pointer, from the local level, the shared level or query, in this order.
// Concurrent calls for a key share one query and must pass pointers to the same type; each gets a
// shallow copy of the row. TakeCtx returns the error of query, which is not cached, or that of ctx.
func (c *Cache) TakeCtx(ctx context.Context, val any, key string, query func(val any) error) error {
	for {
		r, leads := c.find(key)
		if leads {
			return c.lead(ctx, r, val, key, query)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.err != nil {
			return r.err
		}
		if r.value.IsValid() {
			reflect.ValueOf(val).Elem().Set(r.value)
			return nil
		}
	}
}

// GetCtx fills val, a pointer, from the local level, or returns sql.ErrNoRows.
func (c *Cache) GetCtx(_ context.Context, key string, val any) error {
	r, ok := c.rows.GetIfPresent(key)
	if !ok || !c.fresh(r) {
		return sql.ErrNoRows
	}
	c.count.memory.Inc()
	reflect.ValueOf(val).Elem().Set(r.value)
	return nil
}

// find returns the local row of key or a read of it. If leads is true, the caller must run the
// read.
func (c *Cache) find(key string) (r *read, leads bool) {
	if r, ok := c.rows.GetIfPresent(key); ok && c.fresh(r) {
		c.count.memory.Inc()
		return r, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, e := c.clock(), c.era.Load()
	if r, ok := c.reads[key]; ok && r.era == e && now-r.started < shortLife {
		c.count.joined.Inc()
		return r, false
	}
	r = &read{era: e, started: now, done: make(chan struct{})}
	c.reads[key] = r
	return r, true
}

// fresh reports whether a local row may still be used.
func (c *Cache) fresh(r *read) bool {
	age := c.clock() - r.started
	return r.era == c.era.Load() && (age < shortLife || r.long && age < longLife && c.isProven())
}

// lead reads for all callers that joined r. It runs in the leader's goroutine, because goctl's
// queries use the caller's context and variables.
func (c *Cache) lead(ctx context.Context, r *read, val any, key string,
	query func(val any) error) error {
	defer c.end(key, r)
	dst := reflect.ValueOf(val).Elem()
	level := r.era.level + shape(dst.Type())
	held, known := c.get(ctx, r.era, key)
	if text, ok := strings.CutPrefix(held, level+kindValue); ok {
		if err := json.Unmarshal([]byte(text), val); err == nil { // err may quote data
			c.count.shared.Inc()
			c.answer(r, dst)
			c.keep(key, r, true)
			return nil
		}
		c.log.WarnContext(ctx, "cached row cannot be decoded")
		dst.SetZero()
	}
	lease := level + kindLease + rand.Text()
	leased := known && !strings.HasPrefix(held, level+kindLease) &&
		c.cas(ctx, r.era, key, held, lease, leaseLife)

	c.count.database.Inc()
	if err := query(val); err != nil {
		if ctx.Err() == nil {
			r.err = err
		}
		return err
	}
	c.answer(r, dst)
	life := c.ttl - mathrand.N(c.ttl/5+1) // rows cached together do not expire together
	text, err := json.Marshal(val)        // a value that cannot be encoded is not cached
	filled := err == nil && leased && c.cas(context.WithoutCancel(ctx), r.era, key,
		lease, level+kindValue+string(text), life)
	c.keep(key, r, filled)
	return nil
}

// answer gives the callers that joined r a copy of the row in dst.
func (c *Cache) answer(r *read, dst reflect.Value) {
	r.value = reflect.New(dst.Type()).Elem()
	r.value.Set(dst)
	close(r.done)
}

// keep stores the row of r in memory, unless the key was invalidated or another read of it began.
func (c *Cache) keep(key string, r *read, long bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local && c.reads[key] == r {
		r.long = long
		c.rows.Set(key, r)
	}
}

// end ends r, even if its query panics.
func (c *Cache) end(key string, r *read) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reads[key] == r {
		delete(c.reads, key)
	}
	if !r.value.IsValid() {
		close(r.done)
	}
}

// get returns the content of key in Redis, empty for none. known is false when the shared level may
// not be used.
func (c *Cache) get(ctx context.Context, e *era, key string) (held string, known bool) {
	known = c.shared(ctx, e, func(ctx context.Context) (err error) {
		held, err = c.redis.Get(ctx, c.prefix+key).Result()
		return err
	})
	if !known {
		held = "" // the reply came too late
	}
	return held, known
}

// cas replaces the content of key in Redis if it equals held, empty for none. It returns true if it
// replaced it, and the shared level may be used before and after.
func (c *Cache) cas(ctx context.Context, e *era, key, held, content string,
	life time.Duration) bool {
	n := 0
	known := c.shared(ctx, e, func(ctx context.Context) (err error) {
		n, err = casScript.Run(ctx, c.redis, []string{c.prefix + key},
			held, content, life.Milliseconds()).Int()
		return err
	})
	return known && n == 1
}

// shared runs f, a call to Redis of a read that began in e. It returns true if f succeeds, and the
// shared level may be used before and after.
func (c *Cache) shared(ctx context.Context, e *era, f func(context.Context) error) bool {
	if !c.usable(e) {
		return false
	}
	err := c.call(ctx, f)
	return (err == nil || errors.Is(err, redis.Nil)) && c.usable(e)
}

// shape returns a hash of a type's fields, so that a program version with other columns does not
// read rows of this one.
func shape(t reflect.Type) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%#v", reflect.Zero(t))
	return fmt.Sprintf("%08x", h.Sum32())
}
