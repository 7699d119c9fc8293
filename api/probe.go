package api

import (
	"context"

	"github.com/redis/go-redis/v9"

	"shares/api/internal/limit"
)

// ProbeRedis runs on Redis what the edge runs on it and reports it with its error.
func ProbeRedis(ctx context.Context, client redis.UniversalClient, report func(step string, err error)) {
	report("limit of logins", limit.Probe(ctx, client))
}
