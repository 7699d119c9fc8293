package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// renewalWindow is the time within which a second renewal of the generation makes a process back
// off: it does not use the shared level for a second, doubled each time, at most a minute.
const renewalWindow = 10 * time.Second

// beats sends a heartbeat every beatEvery until ctx ends.
func (c *Cache) beats(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for available := true; ; {
		err := c.heartbeat(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !available:
			c.log.InfoContext(ctx, "redis is available again")
		case err != nil && available:
			c.log.WarnContext(ctx, "redis is unavailable: rows are read from the database", "error", err)
		}
		available = err == nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// heartbeat checks that every primary takes invalidations, and extends the right to use the shared
// level, counted from when it was sent. It then delivers pending invalidations.
func (c *Cache) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	sent, owed := c.clock(), c.owes()
	level, err := c.ask(ctx, sent, slices.Contains(owed, allRows))
	if err != nil {
		c.until.Store(0)
		return fmt.Errorf("heartbeat: %w", err)
	}
	c.adopt(level)
	until := sent + validity
	if sent < c.offUntil {
		until = sent // Redis is available but not used
	}
	c.until.Store(int64(until))
	return c.deliver(ctx, owed)
}

// ask sends a heartbeat and returns the level: a hash of the generation and the primaries' run
// ids. It renews the generation if renew is set or the servers have changed.
func (c *Cache) ask(ctx context.Context, sent time.Duration, renew bool) (level string, err error) {
	primaries, err := c.primaries(ctx)
	if err != nil {
		return "", fmt.Errorf("find the primaries: %w", err)
	}
	var ids []string
	for primary, key := range primaries {
		if err := primary.Del(ctx, c.prefix+key).Err(); err != nil {
			return "", fmt.Errorf("invalidate: %w", err)
		}
		id := ""
		if !c.proxy {
			info := primary.InfoMap(ctx, "server")
			if _, refused := errors.AsType[redis.Error](info.Err()); info.Err() != nil && !refused {
				return "", fmt.Errorf("info: %w", info.Err())
			}
			id = info.Item("Server", "run_id")
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	servers := strings.Join(ids, " ")
	known := servers
	if slices.Contains(ids, "") {
		// INFO is of no use, so any new connection counts as another server.
		known += strconv.FormatUint(uint64(c.beat.PoolStats().Misses), 10)
	}
	if renew || c.servers != "" && c.servers != known {
		if err := c.renew(ctx); err != nil {
			return "", err
		}
	}
	c.servers = known

	number, err := generationScript.Run(ctx, c.beat, []string{c.prefix + generation},
		rand.Text(), validity.Milliseconds()).Text()
	if err != nil {
		return "", fmt.Errorf("generation: %w", err)
	}
	// The message comes last: if Redis refuses another command, writers do not publish, and the
	// message would prove a subscription that misses their invalidations.
	message := messageBeat + c.name + " " + strconv.FormatInt(int64(sent), 10)
	for primary := range primaries {
		if err := primary.Publish(ctx, c.prefix+channel, message).Err(); err != nil {
			return "", fmt.Errorf("publish: %w", err)
		}
	}
	h := fnv.New64a()
	fmt.Fprint(h, number, " ", servers)
	return fmt.Sprintf("%016x", h.Sum64()), nil
}

// primaries returns the servers that take writes, each with a name of a key for heartbeats in its
// slots.
func (c *Cache) primaries(ctx context.Context) (map[*redis.Client]string, error) {
	key := "beat:" + c.name
	cluster, ok := c.beat.(*redis.ClusterClient)
	if !ok {
		return map[*redis.Client]string{c.beat.(*redis.Client): key}, nil
	}
	var masters atomic.Int64
	err := cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error {
		masters.Add(1)
		return nil
	})
	found := map[*redis.Client]string{}
	for i := 0; err == nil && len(found) < int(masters.Load()); i++ {
		if i == 16384 { // a primary without a slot
			return nil, errors.New("no key for each primary of the cluster")
		}
		key := key + ":" + strconv.Itoa(i)
		var node *redis.Client
		if node, err = cluster.MasterForKey(ctx, c.prefix+key); err == nil {
			found[node] = key
		}
	}
	return found, err
}

// renew deletes the generation; the next heartbeat of any process makes a new one. It does not use
// SET, because a refused SET would leave the old one.
func (c *Cache) renew(ctx context.Context) error {
	if err := c.beat.Del(ctx, c.prefix+generation).Err(); err != nil {
		return fmt.Errorf("renew the generation: %w", err)
	}
	now := c.clock()
	if now-c.renewed < renewalWindow {
		c.backOff = min(max(2*c.backOff, time.Second), time.Minute)
		c.offUntil = now + c.backOff
		c.log.WarnContext(ctx, "redis changes too often: its rows are not used",
			"for", c.backOff.String())
	} else {
		c.backOff = 0
	}
	c.renewed = now
	return nil
}

// listen keeps a subscription until ctx ends. While Redis is unavailable, only the heartbeat dials.
func (c *Cache) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if c.until.Load() != 0 {
			c.receive(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(beatEvery / 4):
		}
	}
}

// receive subscribes and applies messages until the connection fails or is silent.
func (c *Cache) receive(ctx context.Context) {
	sub := c.redis.Subscribe(ctx, c.prefix+channel)
	defer sub.Close()                                      // it is not used again
	defer context.AfterFunc(ctx, func() { sub.Close() })() // reads ignore ctx
	for {
		// Not sub.Channel, which drops messages when its reader is slow.
		message, err := sub.ReceiveTimeout(ctx, 2*validity)
		if err != nil {
			return
		}
		m, ok := message.(*redis.Message)
		if !ok {
			c.resubscribed()
			continue
		}
		if key, ok := strings.CutPrefix(m.Payload, messageRow); ok {
			c.forget(key)
		}
		text, own := strings.CutPrefix(m.Payload, messageBeat+c.name+" ")
		if sent, err := strconv.ParseInt(text, 10, 64); own && err == nil && c.ordered {
			// All messages published before this one have been received on this connection.
			c.proven.Store(max(c.proven.Load(), sent+int64(validity)))
		}
	}
}
