// Package quota limits logins, QR codes and avatars, counted in Redis over all replicas in windows
// that move with time.
package quota

import (
	"context"
	"crypto/rand"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Limit allows Max events per key in any period of Window. It fails open while Redis is
// unavailable.
type Limit struct {
	Redis  redis.UniversalClient
	Prefix string // of the keys in Redis
	Window time.Duration
	Max    int // 0: no limit
	Log    *slog.Logger
	Open   prometheus.Counter // counts the events that were not counted in Redis; may be nil
}

// Error says that a limit is reached.
type Error struct{ RetryAfter time.Duration } // positive

func (*Error) Error() string { return "quota reached" }

// Seconds returns RetryAfter in whole seconds, at least 1, as the Retry-After header has it.
func (e *Error) Seconds() string {
	return strconv.Itoa(int(max(1, math.Ceil(e.RetryAfter.Seconds()))))
}

// takeScript records one event in a log of events and returns 0, or, where the window is full,
// records nothing and returns the microseconds until there is room. The log holds exact times, on
// Redis's clock: a bucket that refills (GCRA) admits up to twice the number in one window.
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

// Take counts one event of key; giveBack removes it. Its only error is an *Error.
func (l *Limit) Take(ctx context.Context, key string) (giveBack func(), err error) {
	if l.Max == 0 {
		return func() {}, nil
	}
	key, event := l.Prefix+key, rand.Text()
	micros, err := takeScript.Run(ctx, l.Redis, []string{key}, event, l.Window.Microseconds(), l.Max).Int64()
	if err != nil {
		l.Log.WarnContext(ctx, "event is not counted without redis", "limit", l.Prefix, "error", err)
		if l.Open != nil {
			l.Open.Inc()
		}
		return func() {}, nil
	}
	if micros > 0 {
		return nil, &Error{RetryAfter: time.Duration(micros) * time.Microsecond}
	}
	return func() {
		if err := l.Redis.ZRem(context.WithoutCancel(ctx), key, event).Err(); err != nil {
			l.Log.WarnContext(ctx, "failed event stays counted", "limit", l.Prefix, "error", err)
		}
	}, nil
}
