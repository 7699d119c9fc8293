package qrcode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrQuota says that WeChat's quota of new codes for this minute is spent.
	ErrQuota = errors.New("quota of new qr codes spent")
	// ErrUserCap says that the user made as many new codes as one user may.
	ErrUserCap = errors.New("user's cap of new qr codes reached")
)

// LimitError is ErrQuota or ErrUserCap with the time after which another
// attempt can succeed.
type LimitError struct {
	// Limit is ErrQuota or ErrUserCap.
	Limit error
	// RetryAfter is positive.
	RetryAfter time.Duration

	userID int64 // whose cap, for ErrUserCap
}

func (e *LimitError) Error() string { return e.Limit.Error() }

// Unwrap makes errors.Is(err, ErrQuota) and errors.Is(err, ErrUserCap) work.
func (e *LimitError) Unwrap() error { return e.Limit }

// window allows Max events in any period of that length.
type window struct {
	length time.Duration
	max    int
}

// take records one event in a log of events and returns 0, or, where a window
// is full, records nothing and returns the microseconds until all have room.
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

// take asks for a place in all windows of the log at key. It returns 0 and a
// function that gives the place back, or the time until there is one.
func take(ctx context.Context, rdb redis.UniversalClient, key string, windows ...window) (wait time.Duration, undo func(context.Context) error, err error) {
	event := rand.Text()
	args := []any{event}
	for _, w := range windows {
		if w.max > 0 {
			args = append(args, w.length.Microseconds(), w.max)
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
