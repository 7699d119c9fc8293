package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// pending holds the keys whose invalidation Redis has not taken yet. While a key is here, this process does not read it from Redis.
type pending struct {
	limit int
	n     atomic.Int64 // of keys, or 1 for all; so that nothing pending costs nothing

	mu    sync.Mutex
	added uint64            // counts add
	keys  map[string]uint64 // to the add that brought it last
	all   uint64            // the add that was too much, if not 0: then every key is pending
	empty chan struct{}     // closed when nothing is pending any more; nil when no one asked
}

func (p *pending) size() int64 { return p.n.Load() }

func (p *pending) add(keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.added++
	if p.keys == nil {
		p.keys = make(map[string]uint64)
	}
	for _, key := range keys {
		p.keys[key] = p.added
	}
	if p.all > 0 || len(p.keys) > p.limit {
		p.keys, p.all = nil, p.added
	}
	p.changed()
}

func (p *pending) has(key string) bool {
	if p.n.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.keys[key]
	return ok || p.all > 0
}

// some returns up to limit pending keys, or all, with a receipt for done.
func (p *pending) some(limit int) (keys []string, all bool, receipt uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.keys {
		if len(keys) == limit {
			break
		}
		keys = append(keys, key)
	}
	return keys, p.all > 0, p.added
}

// done forgets what some returned, except what was added again since.
func (p *pending) done(keys []string, all bool, receipt uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all && p.all <= receipt {
		p.all = 0
	}
	for _, key := range keys {
		if at, ok := p.keys[key]; ok && at <= receipt {
			delete(p.keys, key)
		}
	}
	p.changed()
}

// changed follows a change under mu.
func (p *pending) changed() {
	n := int64(len(p.keys))
	if p.all > 0 {
		n = 1
	}
	p.n.Store(n)
	if n == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
}

// drained returns a channel that is closed once nothing is pending.
func (p *pending) drained() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.keys) == 0 && p.all == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if p.empty == nil {
		p.empty = make(chan struct{})
	}
	return p.empty
}

// deliver sends a batch of pending invalidations to Redis, or the one that stands for all. Only the heartbeat's goroutine calls it,
// and Close when that has ended.
func (c *Cache) deliver(ctx context.Context) error {
	keys, all, receipt := c.pending.some(deliverAtOnce)
	if all {
		if err := c.voidAll(ctx); err != nil {
			c.failed(ctx, err)
			return fmt.Errorf("void all: %w", err)
		}
	} else if err := c.void(ctx, keys); err != nil {
		c.failed(ctx, err)
		return err
	}
	c.pending.done(keys, all, receipt)
	if all {
		c.stream.epoch.Add(1)
	}
	return nil
}

// voidAll makes everything that was leased so far void, for every process: at the message, or else at its next heartbeat.
func (c *Cache) voidAll(ctx context.Context) error {
	who, err := c.identify(ctx, c.clock())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	// By then everything that it speaks of has expired.
	life := c.opts.TTL + leaseLife + time.Minute
	if err := c.redis.Set(ctx, c.floorKey(), who.now, life).Err(); err != nil {
		return err
	}
	// This process must not believe its old view for the moment in which nothing is pending any more.
	c.link.after = max(c.link.after, who.now)
	c.link.show(nil)
	c.link.wake()
	c.log.WarnContext(ctx, "too many invalidations waited for redis: everything cached is void")
	return c.redis.Publish(ctx, c.stream.void, everything).Err()
}
