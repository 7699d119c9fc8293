package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Probe runs the commands of a Cache, except INFO, on its own keys in Redis, and reports each step
// and its error.
func Probe(ctx context.Context, client redis.UniversalClient, prefix string,
	report func(step string, err error)) {
	c := Cache{prefix: prefix + ":"}
	name := "user:probe-" + rand.Text()
	keys := []string{c.prefix + name}
	sub := client.Subscribe(ctx, c.prefix+channel)
	defer sub.Close() // ReceiveTimeout reports its errors
	_, subscribed := sub.ReceiveTimeout(ctx, 2*time.Second)
	report("subscribe to "+c.prefix+channel, subscribed)

	report("script that takes a lease, by EVAL",
		casScript.Eval(ctx, client, keys, "", "lease", 3000).Err())
	report("script that stores a row, by EVALSHA",
		casScript.EvalSha(ctx, client, keys, "lease", "row", 3000).Err())
	if err := client.Get(ctx, keys[0]).Err(); !errors.Is(err, redis.Nil) {
		report("read of a row", err)
	}
	err := c.invalidate(ctx, client, name, name)
	report("delete a row and publish that", err)
	if err == nil && subscribed == nil {
		report("receive a published invalidation", receive(ctx, sub, name))
	}
	report("script of the generation", generationScript.Run(ctx, client,
		[]string{c.prefix + generation + ":" + rand.Text()}, "new", 1000).Err())
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
