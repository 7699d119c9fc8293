package wechat

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
)

// ProbeRedis runs on Redis what keeps the access token, on keys of its own, and reports each step
// and its error.
func ProbeRedis(ctx context.Context, client redis.UniversalClient, appID string, report func(step string, err error)) {
	key := newTokenSource(Options{AppID: appID}, nil, nil).key + ":probe:" + rand.Text()
	err := client.Set(ctx, key, "probe", time.Minute).Err()
	if err == nil {
		_, err = client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Get(ctx, key)
			p.PTTL(ctx, key)
			return nil
		})
	}
	report("store and read the access token", err)
	report("script that drops a token", dropScript.Run(ctx, client, []string{key}, "probe").Err())

	lock, err := redislock.New(client).Obtain(ctx, key+":lock", time.Second, nil)
	if err == nil {
		err = lock.Release(ctx)
	}
	report("script that locks", err)

	counter := key + ":force"
	if err = client.SetNX(ctx, counter, 1, time.Second).Err(); err == nil {
		if err = client.Incr(ctx, counter).Err(); err == nil {
			err = client.Expire(ctx, counter, time.Second).Err()
		}
	}
	report("counter of forced renewals", err)
}
