// Package quota counts events in Redis, those of all replicas together, in
// windows that move on with time. qrcode and avatar take a place there before
// they make something that stays.
package quota

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Window allows Max events in any period of Length; a Max of 0 allows all.
type Window struct {
	Length time.Duration
	Max    int
}

// takeScript records one event in a log of events and returns 0, or, where a
// window is full, records nothing and returns the microseconds until all have room.
// The log holds exact times, on Redis's clock: a bucket that refills (GCRA)
// would let up to twice the number through in one window.
var takeScript = redis.NewScript(`
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local wait, longest = 0, 0
for i = 2, #ARGV, 2 do
  local length, max = tonumber(ARGV[i]), tonumber(ARGV[i+1])
  longest = math.max(longest, length)
  -- While the max-th newest event is inside the window, the window is full.
  local edge = redis.call('ZREVRANGE', KEYS[1], max - 1, max - 1, 'WITHSCORES')
  if edge[2] then
    wait = math.max(wait, tonumber(edge[2]) + length - now)
  end
end
if wait > 0 then
  return string.format('%.0f', wait)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - longest))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longest / 1000))
return '0'
`)

// Take asks for a place in all windows of the log at key. It returns 0 and a
// function that gives the place back, or the time until there is one. Its error
// is Redis's.
func Take(ctx context.Context, rdb redis.UniversalClient, key string, windows ...Window) (wait time.Duration, undo func(context.Context) error, err error) {
	event := rand.Text()
	args := []any{event}
	for _, w := range windows {
		if w.Max > 0 {
			args = append(args, w.Length.Microseconds(), w.Max)
		}
	}
	undo = func(context.Context) error { return nil }
	if len(args) == 1 {
		return 0, undo, nil
	}
	micros, err := takeScript.Run(ctx, rdb, []string{key}, args...).Int64()
	if err != nil {
		return 0, undo, fmt.Errorf("take a place: %w", err)
	}
	if micros > 0 {
		return time.Duration(micros) * time.Microsecond, undo, nil
	}
	return 0, func(ctx context.Context) error {
		if err := rdb.ZRem(ctx, key, event).Err(); err != nil {
			return fmt.Errorf("give a place back: %w", err)
		}
		return nil
	}, nil
}
