package cache

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	separator  = "\x00" // between the keys of a message; no key holds it
	everything = "*"    // the message that voids all
)

// stream is the state of this process's subscription to everybody's invalidations.
type stream struct {
	void string // the channel of invalidations
	beat string // the channel of this process's own heartbeats

	// epoch changes whenever invalidations may have been missed. Rows read in another epoch are not used beyond blind.
	epoch atomic.Uint64
	// proven is the time, by Cache.clock, up to which the stream counts as complete. It is window after the sending of the last
	// heartbeat that has come back: whatever was published before it has come too.
	proven atomic.Int64
}

// listen keeps the subscription alive until ctx ends.
func (c *Cache) listen(ctx context.Context) {
	for ctx.Err() == nil {
		c.receive(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// receive subscribes and applies what comes, until something is wrong with the connection.
func (c *Cache) receive(ctx context.Context) {
	sub := c.redis.Subscribe(ctx, c.stream.void, c.stream.beat)
	defer sub.Close() //nolint:errcheck // it is given up
	// A read does not end with ctx.
	defer context.AfterFunc(ctx, func() { sub.Close() })() //nolint:errcheck
	for {
		// Not sub.Channel: that drops messages when its reader is slow. Silence longer than some beats is a dead connection,
		// except where this process's own beats are not sent through it.
		patience := 2 * window
		if c.opts.Unordered {
			patience = time.Minute
		}
		msg, err := sub.ReceiveTimeout(ctx, patience)
		if err != nil {
			return
		}
		switch msg := msg.(type) {
		case *redis.Subscription:
			c.stream.epoch.Add(1)
		case *redis.Message:
			if msg.Channel == c.stream.beat {
				c.prove(msg.Payload)
			} else {
				c.voided(msg.Payload)
			}
		}
	}
}

// prove follows from the return of a heartbeat that was sent at the time in payload.
func (c *Cache) prove(payload string) {
	sent, err := strconv.ParseInt(payload, 10, 64)
	if err != nil || c.opts.Unordered {
		return
	}
	before := c.stream.proven.Load()
	if int64(c.clock()) >= before {
		// The stream was in doubt, and with it those who publish: some may be gone with what they had to say.
		c.stream.epoch.Add(1)
	}
	c.stream.proven.Store(max(before, sent+int64(window)))
}

// voided applies a published invalidation.
func (c *Cache) voided(payload string) {
	if payload == everything {
		c.stream.epoch.Add(1)
		c.link.wake()
		return
	}
	keys := strings.Split(payload, separator)
	c.forget(keys)
	c.count.voidsSeen.Add(float64(len(keys)))
}
