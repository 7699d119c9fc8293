// Package single is single-flight among replicas: a lock in Redis lets one process at a time make a
// shared object.
package single

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"
)

const poll = 25 * time.Millisecond

// deleteScript deletes a key if it still holds the value.
var deleteScript = redis.NewScript(
	`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// Delete deletes a key of Redis unless its value has changed.
func Delete(ctx context.Context, client redis.UniversalClient, key, value string) error {
	return deleteScript.Run(ctx, client, []string{key}, value).Err()
}

// Do returns nil as soon as found reports true. Otherwise it calls make in one process at a time:
// the one that holds key, for at most ttl. While Redis is unavailable every process calls make. Do
// returns the error of found, of make or of ctx.
func Do(ctx context.Context, client redis.UniversalClient, key string, ttl time.Duration,
	found func() (bool, error), make func() error) error {
	value := rand.Text()
	for {
		if done, err := found(); done || err != nil {
			return err
		}
		taken, err := client.SetNX(ctx, key, value, ttl).Result()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return make()
		case taken:
			// If this fails, the key expires.
			defer func() { _ = Delete(context.WithoutCancel(ctx), client, key, value) }()
			// The previous holder may have made it.
			if done, err := found(); done || err != nil {
				return err
			}
			return make()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// Probe takes and releases the lock key, and returns Redis's error.
func Probe(ctx context.Context, client redis.UniversalClient, key string) error {
	if err := client.SetNX(ctx, key, "probe", time.Second).Err(); err != nil {
		return err
	}
	return Delete(ctx, client, key, "probe")
}
