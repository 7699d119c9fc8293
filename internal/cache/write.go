package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// DelCtx invalidates keys in Redis and in this process. Call it after the commit and before the
// write is acknowledged; after an unknown outcome of a commit, too. It always returns nil: what
// Redis does not take now is delivered with a later heartbeat, and Flush waits for that.
func (c *Cache) DelCtx(ctx context.Context, keys ...string) error {
	ctx = context.WithoutCancel(ctx) // the commit is done
	for _, key := range keys {
		if c.until.Load() == 0 || c.invalidate(ctx, key) != nil {
			c.owe(key)
		}
		// Last: a read that took the old row from Redis before must not keep it here.
		c.forget(key)
	}
	return nil
}

// forget drops the local row of key and detaches its read under way.
func (c *Cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reads, key)
	c.rows.Invalidate(key)
}

// With more than mostOwed invalidations that wait for Redis, a new generation invalidates all rows
// instead.
const (
	mostOwed = 1000
	allRows  = "" // in Cache.owed, as the only key
)

// owe notes a key whose invalidation Redis has not taken. While there is one, this process neither
// reads nor fills the shared level.
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

// owes returns the keys that are owed, and notes which are owed again while they are delivered.
func (c *Cache) owes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.owed {
		c.owed[key] = false
	}
	return slices.Collect(maps.Keys(c.owed))
}

// deliver invalidates keys of owes in Redis.
func (c *Cache) deliver(ctx context.Context, keys []string) error {
	cmds, err := c.beat.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			// EVAL, because nothing repeats an EVALSHA of a pipeline after NOSCRIPT.
			invalidateScript.Eval(ctx, p, []string{prefix + key}, channel, messageRow+key)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, cmd := range cmds {
		if again := c.owed[keys[i]]; cmd.Err() == nil && !again {
			delete(c.owed, keys[i])
		}
	}
	c.pending.Store(int64(len(c.owed)))
	if err != nil {
		return fmt.Errorf("invalidate: %w", err)
	}
	return nil
}

// Flush returns nil when every invalidation that DelCtx has accepted is in effect in Redis. It
// returns an error when ctx ends first.
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
