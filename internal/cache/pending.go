package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// mostPending bounds the invalidations that wait for Redis. With one more, a new generation
// invalidates all rows instead.
const mostPending = 1000

// pending are the keys whose invalidation Redis has not taken. While there are any, this process
// neither reads nor fills the shared level.
type pending struct {
	n    atomic.Int64 // keys, those being delivered included; with all, more than mostPending
	mu   sync.Mutex
	keys map[string]bool
	all  bool
}

func (p *pending) size() int64 { return p.n.Load() }

func (p *pending) add(keys ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = make(map[string]bool)
	}
	for _, key := range keys {
		p.keys[key] = true
	}
	if p.all || len(p.keys) > mostPending {
		p.keys, p.all = nil, true
	}
	n := len(p.keys)
	if p.all {
		n = mostPending + 1
	}
	p.n.Store(int64(n))
}

// take returns what is pending, which counts until done is called.
func (p *pending) take() (keys []string, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys, all = slices.Collect(maps.Keys(p.keys)), p.all
	p.keys, p.all = nil, false
	return keys, all
}

// done ends a take, of which keys, or all, are still pending.
func (p *pending) done(keys []string, all bool) {
	p.mu.Lock()
	p.all = p.all || all
	p.mu.Unlock()
	p.add(keys...)
}

// deliver invalidates what is pending, in Redis. It is called by the heartbeat's goroutine, and by
// Close after its end.
func (c *Cache) deliver(ctx context.Context) error {
	if c.pending.size() == 0 {
		return nil
	}
	keys, all := c.pending.take()
	if all {
		err := c.renew(ctx)
		if err == nil {
			// The next heartbeat has the new generation; until then nothing of the old one is used.
			c.until.Store(0)
		}
		c.pending.done(nil, err != nil)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	cmds, _ := c.beat.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			// EVAL, because nothing repeats an EVALSHA of a pipeline after NOSCRIPT.
			invalidateScript.Eval(ctx, p, []string{c.key(key)}, c.heart.channel, messageRow+key)
		}
		return nil
	})
	var left []string
	var errs error
	for i, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			left = append(left, keys[i])
			errs = err
		}
	}
	c.pending.done(left, false)
	if errs != nil {
		return fmt.Errorf("invalidate %d keys: %w", len(left), errs)
	}
	return nil
}
