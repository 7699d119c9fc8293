package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Probe runs the commands of a Cache on its own keys in Redis, and reports each step and its error.
func Probe(ctx context.Context, client redis.UniversalClient, report func(step string, err error)) {
	key := prefix + "user:probe-" + rand.Text()
	sub := client.Subscribe(ctx, channel)
	defer sub.Close() // ReceiveTimeout reports its errors
	_, subscribed := sub.ReceiveTimeout(ctx, 2*time.Second)
	report("subscribe to "+channel, subscribed)

	run := func(script *redis.Script, key string, args ...any) error {
		return script.Run(ctx, client, []string{key}, args...).Err()
	}
	report("script that takes a lease", run(casScript, key, "", "lease", 3000))
	report("script that stores a row", run(casScript, key, "lease", "row", 3000))
	if err := client.Get(ctx, key).Err(); !errors.Is(err, redis.Nil) {
		report("read of a row", err)
	}
	err := run(invalidateScript, key, channel, key)
	report("script that invalidates and publishes", err)
	if err == nil && subscribed == nil {
		report("receive a published invalidation", receive(ctx, sub, key))
	}
	report("script of the generation", run(generationScript, generation+":"+rand.Text(), "new", 1000))
	report("INFO server, which shows a failover", client.Info(ctx, "server").Err())
}

// receive waits for a message with the payload.
func receive(ctx context.Context, sub *redis.PubSub, payload string) error {
	for {
		message, err := sub.ReceiveTimeout(ctx, 2*time.Second)
		if err != nil {
			return fmt.Errorf("published but not received: %w", err)
		}
		if m, ok := message.(*redis.Message); ok && m.Payload == payload {
			return nil
		}
	}
}
