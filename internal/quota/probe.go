package quota

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Probe counts one event at key for a second and takes it back. It returns Redis's error.
func Probe(ctx context.Context, client redis.UniversalClient, key string) error {
	const event, micros = "probe", 1_000_000
	if err := takeScript.Run(ctx, client, []string{key}, event, micros, 1).Err(); err != nil {
		return err
	}
	return client.ZRem(ctx, key, event).Err()
}
