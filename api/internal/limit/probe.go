package limit

import (
	"context"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// Probe counts a login of no address. It returns Redis's error.
func Probe(ctx context.Context, client redis.UniversalClient) error {
	_, err := redis_rate.NewLimiter(client).Allow(ctx, "login:probe", redis_rate.PerSecond(1))
	return err
}
