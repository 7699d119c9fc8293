package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Probe runs on Redis what a Cache runs, on a key of its own, and reports each step and its error.
func Probe(ctx context.Context, client redis.UniversalClient, prefix string, report func(step string, err error)) {
	key := prefix + ":row:probe:" + rand.Text()
	keys := []string{key}
	channel := prefix + ":row:void"
	sub := client.Subscribe(ctx, channel)
	defer sub.Close() // its errors are those of ReceiveTimeout
	_, subscribed := sub.ReceiveTimeout(ctx, 2*time.Second)
	report("subscribe to "+channel, subscribed)

	mark := strings.Repeat("0", markLen)
	leases, err := leaseScript.Run(ctx, client, keys, mark, 0, "probe", 3000).StringSlice()
	report("script that takes a lease", err)
	if err == nil {
		err = fillScript.Run(ctx, client, keys, leases[0], "row", 3000).Err()
		report("script that stores a row", err)
	}
	if err := client.Get(ctx, key).Err(); err != nil && !errors.Is(err, redis.Nil) {
		report("read of a row", err)
	}
	err = voidScript.Run(ctx, client, keys, channel, key).Err()
	report("script that invalidates and publishes", err)
	if err == nil && subscribed == nil {
		report("receive a published invalidation", receive(ctx, sub, key))
	}
	report("script of the heartbeat", beatScript.Run(ctx, client, []string{key}, channel, key).Err())
	report("INFO server, which shows a failover", client.Info(ctx, "server").Err())
}

// receive waits for a message.
func receive(ctx context.Context, sub *redis.PubSub, payload string) error {
	for {
		message, err := sub.ReceiveTimeout(ctx, 2*time.Second)
		if err != nil {
			return fmt.Errorf("published and not received: %w", err)
		}
		if m, ok := message.(*redis.Message); ok && m.Payload == payload {
			return nil
		}
	}
}
