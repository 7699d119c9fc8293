// Package quota limits logins, QR codes and avatars across all replicas. It counts events in Redis
// in sliding windows.
package quota

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/internal/reason"
)

// Limit allows Max events per key in any period of length Window. It fails open while Redis is
// unavailable.
type Limit struct {
	Redis  redis.UniversalClient
	Prefix string // of the Redis keys
	Window time.Duration
	Max    int // 0: no limit
	Log    *slog.Logger
	Open   prometheus.Counter // counts events admitted without Redis; may be nil
}

// takeScript records one event and returns 0. If the window is full, it records nothing and returns
// the microseconds until the next event is allowed. It stores the time of every event, on Redis's
// clock, because a token bucket (GCRA) admits up to twice the limit in one window.
var takeScript = redis.NewScript(`
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local length, max = tonumber(ARGV[2]), tonumber(ARGV[3])
-- While the max-th newest event is inside the window, the window is full.
local edge = redis.call('ZREVRANGE', KEYS[1], max - 1, max - 1, 'WITHSCORES')
if edge[2] and tonumber(edge[2]) + length > now then
  return string.format('%.0f', tonumber(edge[2]) + length - now)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - length))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', length / 1000))
return '0'
`)

// Take counts one event of key. giveBack removes it again. The only error has the reason
// RATE_LIMITED.
func (l *Limit) Take(ctx context.Context, key string) (giveBack func(), err error) {
	if l.Max == 0 {
		return func() {}, nil
	}
	key, event := l.Prefix+key, rand.Text()
	micros, err := takeScript.Run(ctx, l.Redis, []string{key}, event, l.Window.Microseconds(), l.Max).Int64()
	if err != nil {
		l.Log.WarnContext(ctx, "event is not counted: redis is unavailable", "limit", l.Prefix, "error", err)
		if l.Open != nil {
			l.Open.Inc()
		}
		return func() {}, nil
	}
	if micros > 0 {
		seconds := (micros + 999_999) / 1_000_000
		return nil, reason.Error(reason.RateLimited, "retry_after", strconv.FormatInt(seconds, 10))
	}
	return func() {
		if err := l.Redis.ZRem(context.WithoutCancel(ctx), key, event).Err(); err != nil {
			l.Log.WarnContext(ctx, "event could not be given back and stays counted", "limit", l.Prefix, "error", err)
		}
	}, nil
}

// Probe counts one event of a new key that begins with key, then removes it. It returns Redis's
// error, if any.
func Probe(ctx context.Context, client redis.UniversalClient, key string) error {
	key += ":" + rand.Text()
	const event, micros = "probe", 1_000_000
	if err := takeScript.Run(ctx, client, []string{key}, event, micros, 1).Err(); err != nil {
		return err
	}
	return client.ZRem(ctx, key, event).Err()
}
