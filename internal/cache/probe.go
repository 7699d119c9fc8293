package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Probe runs on Redis what a Cache runs, on keys of its own, and reports each step and its error.
func Probe(ctx context.Context, client redis.UniversalClient, prefix string,
	report func(step string, err error)) {
	key := prefix + ":user:probe-" + rand.Text()
	keys, channel := []string{key}, channel(prefix)
	sub := client.Subscribe(ctx, channel)
	defer sub.Close() // its errors are those of ReceiveTimeout
	_, subscribed := sub.ReceiveTimeout(ctx, 2*time.Second)
	report("subscribe to "+channel, subscribed)

	cas := func(expected, content string) error {
		n, err := casScript.Run(ctx, client, keys, expected, content, 3000).Int()
		if err == nil && n != 1 {
			err = errors.New("unexpected answer")
		}
		return err
	}
	err := cas("", "lease")
	report("script that takes a lease", err)
	if err == nil {
		report("script that stores a row", cas("lease", "row"))
	}
	if err := client.Get(ctx, key).Err(); err != nil && !errors.Is(err, redis.Nil) {
		report("read of a row", err)
	}
	err = invalidateScript.Run(ctx, client, keys, channel, key).Err()
	report("script that invalidates and publishes", err)
	if err == nil && subscribed == nil {
		report("receive a published invalidation", receive(ctx, sub, key))
	}
	generation := []string{prefix + ":generation:" + rand.Text()}
	err = generationScript.Run(ctx, client, generation, "new", 1000).Err()
	report("script of the generation", err)
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
