package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A process that renewed the generation twice within renewalWindow stays off the shared level for
// firstBackOff, then for twice as long each time, at most for lastBackOff.
const (
	renewalWindow = 10 * time.Second
	firstBackOff  = time.Second
	lastBackOff   = time.Minute
)

// heart is the state of the heartbeat's goroutine. Only the strings are used by others.
type heart struct {
	channel    string // of invalidations and heartbeats
	generation string // the key of the generation
	name       string // of this process in its heartbeats

	servers string        // what the last heartbeat met; another one is a restart or a failover
	renewed time.Duration // when this process last renewed the generation
	backOff time.Duration
}

// beats sends a heartbeat every beatEvery, and the invalidations that wait after each that was
// answered, until ctx ends.
func (c *Cache) beats(ctx context.Context) {
	timer := time.NewTimer(beatEvery)
	defer timer.Stop()
	for available := true; ; {
		err := c.heartbeat(ctx)
		if err == nil {
			err = c.deliver(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if (err == nil) != available {
			available = err == nil
			if available {
				c.log.InfoContext(ctx, "redis is available again")
			} else {
				c.log.WarnContext(ctx, "redis is unavailable: rows are read from the database",
					"err", err)
			}
		}
		timer.Reset(beatEvery)
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		case <-timer.C:
		}
	}
}

// heartbeat proves that every primary takes invalidations, and takes the right to use the shared
// level from the moment it was sent.
func (c *Cache) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	sent := c.clock()
	level, err := c.ask(ctx, sent)
	if err != nil {
		c.down.Store(true)
		return fmt.Errorf("heartbeat: %w", err)
	}
	c.adopt(level)
	c.until.Store(int64(sent + validity))
	c.down.Store(false)
	return nil
}

// ask sends a heartbeat and returns the level: a hash of the generation and the primaries' run
// ids.
func (c *Cache) ask(ctx context.Context, sent time.Duration) (level string, err error) {
	primaries, err := c.primaries(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	message := messageBeat + c.heart.name + " " + strconv.FormatInt(int64(sent), 10)
	for _, p := range primaries {
		err := invalidateScript.Run(ctx, p.client, []string{p.key}, c.heart.channel, message).Err()
		if err != nil {
			return "", fmt.Errorf("invalidate: %w", err)
		}
		id, err := runID(ctx, p.client)
		if err != nil {
			return "", fmt.Errorf("info: %w", err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	servers := strings.Join(ids, " ")
	known := servers
	if slices.Contains(ids, "") {
		// INFO is refused, so a new connection may lead to another server.
		known += " " + strconv.FormatUint(c.dials.Load(), 10)
	}
	if c.heart.servers != "" && c.heart.servers != known {
		if err := c.renew(ctx); err != nil {
			return "", err
		}
	}
	c.heart.servers = known

	keys := []string{c.heart.generation}
	generation, err := generationScript.Run(ctx, c.beat, keys,
		rand.Text(), validity.Milliseconds()).Text()
	if err != nil {
		return "", fmt.Errorf("generation: %w", err)
	}
	h := fnv.New64a()
	fmt.Fprint(h, generation, " ", servers)
	return fmt.Sprintf("%016x", h.Sum64()), nil
}

// primary is a server and a key that it is responsible for.
type primary struct {
	client *redis.Client
	key    string
}

// primaries returns the servers that take writes, each with a key for heartbeats.
func (c *Cache) primaries(ctx context.Context) ([]primary, error) {
	key := c.opts.Prefix + ":beat:" + c.heart.name
	cluster, ok := c.beat.(*redis.ClusterClient)
	if !ok {
		return []primary{{c.beat.(*redis.Client), key}}, nil
	}
	var mu sync.Mutex
	missing := map[string]bool{}
	err := cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		missing[node.Options().Addr] = true
		return nil
	})
	var all []primary
	for i := 0; err == nil && len(missing) > 0; i++ {
		if i == 16384 { // a primary without a slot
			return nil, errors.New("no key for each primary of the cluster")
		}
		p := primary{key: key + ":" + strconv.Itoa(i)}
		if p.client, err = cluster.MasterForKey(ctx, p.key); err != nil {
			break
		}
		if addr := p.client.Options().Addr; missing[addr] {
			delete(missing, addr)
			all = append(all, p)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find the primaries: %w", err)
	}
	return all, nil
}

var runIDPattern = regexp.MustCompile(`run_id:(\w+)`)

// runID returns the id that a server gave itself at its start, or "" if it refuses INFO.
func runID(ctx context.Context, client *redis.Client) (string, error) {
	info, err := client.Info(ctx, "server").Result()
	if err != nil && !refused(err) {
		return "", err
	}
	if found := runIDPattern.FindStringSubmatch(info); found != nil {
		return found[1], nil
	}
	return "", nil
}

// renew deletes the generation, so that the next heartbeat of any process makes a new one.
// Deleting comes first: a refused SET would leave the old one.
func (c *Cache) renew(ctx context.Context) error {
	if err := c.beat.Del(ctx, c.heart.generation).Err(); err != nil {
		return fmt.Errorf("renew the generation: %w", err)
	}
	now := c.clock()
	if now-c.heart.renewed < renewalWindow {
		c.heart.backOff = min(max(2*c.heart.backOff, firstBackOff), lastBackOff)
		c.offUntil.Store(int64(now + c.heart.backOff))
		c.log.WarnContext(ctx, "redis changes too often: its rows are not used",
			"for", c.heart.backOff.String())
	} else {
		c.heart.backOff = 0
	}
	c.heart.renewed = now
	return nil
}

// listen keeps the subscription alive until ctx ends. While Redis is down only the heartbeat
// dials.
func (c *Cache) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if !c.down.Load() {
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
	sub := c.redis.Subscribe(ctx, c.heart.channel)
	defer sub.Close()                                      // it is given up
	defer context.AfterFunc(ctx, func() { sub.Close() })() // reads ignore ctx
	for {
		// Not sub.Channel: that drops messages when its reader is slow.
		message, err := sub.ReceiveTimeout(ctx, 2*validity)
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *redis.Subscription:
			c.resubscribed()
		case *redis.Message:
			c.received(m.Payload)
		}
	}
}

// received applies a message.
func (c *Cache) received(payload string) {
	if key, ok := strings.CutPrefix(payload, messageRow); ok {
		c.forget(key)
		c.count.seen.Inc()
		return
	}
	text, own := strings.CutPrefix(payload, messageBeat+c.heart.name+" ")
	sent, err := strconv.ParseInt(text, 10, 64)
	if own && err == nil && !c.opts.Unordered {
		// All that was published before it has been received on this connection.
		c.proven.Store(max(c.proven.Load(), sent+int64(validity)))
	}
}
