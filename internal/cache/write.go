package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// DelCtx invalidates keys in Redis and in this process. Call it after the commit, even if the
// commit's outcome is unknown, and before the write is acknowledged. It always returns nil: if
// Redis does not take an invalidation, a later heartbeat delivers it. Flush waits for the delivery.
func (c *Cache) DelCtx(ctx context.Context, keys ...string) error {
	ctx = context.WithoutCancel(ctx) // the commit is done
	for _, key := range keys {
		sent := func(ctx context.Context) error {
			return c.invalidate(ctx, c.redis, key, messageRow+key)
		}
		if c.until.Load() == 0 || c.call(ctx, sent) != nil {
			c.owe(key)
		}
		// This comes last, because a read that already has the old row from Redis must not keep it.
		c.forget(key)
	}
	return nil
}

// forget drops the local row of key and detaches its read in flight.
func (c *Cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reads, key)
	c.rows.Invalidate(key)
}

// If more than mostOwed invalidations wait for Redis, a new generation invalidates all rows
// instead.
const (
	mostOwed = 1000
	allRows  = "" // in Cache.owed, as the only key
)

// owe adds a key to the pending invalidations. While there are any, this process neither reads nor
// fills the shared level.
func (c *Cache) owe(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, all := c.owed[allRows]; all || len(c.owed) == mostOwed {
		clear(c.owed)
		key = allRows
	}
	c.owed[key] = true
	c.pending.Store(int64(len(c.owed)))
}

// owes returns the keys of the pending invalidations. It resets their marks, so that deliver sees
// which keys were written again.
func (c *Cache) owes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.owed {
		c.owed[key] = false
	}
	return slices.Collect(maps.Keys(c.owed))
}

// deliver invalidates keys, which come from owes, in Redis.
func (c *Cache) deliver(ctx context.Context, keys []string) error {
	cmds, err := c.beat.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			c.queue(ctx, p, key, messageRow+key)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, key := range keys {
		if again := c.owed[key]; !again && cmds[2*i].Err() == nil && cmds[2*i+1].Err() == nil {
			delete(c.owed, key)
		}
	}
	c.pending.Store(int64(len(c.owed)))
	if err != nil {
		return fmt.Errorf("invalidate: %w", err)
	}
	return nil
}

// Flush waits until Redis has all invalidations of DelCtx. It returns an error if ctx ends first.
func (c *Cache) Flush(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.pending.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cache: invalidations undelivered: %w", context.Cause(ctx))
		}
	}
	return nil
}
