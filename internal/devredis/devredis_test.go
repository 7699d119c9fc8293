package devredis

import (
	"context"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

func start(t *testing.T) *redis.Client {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c := redis.NewClient(&redis.Options{Addr: s.Addr()})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// gone waits until the key does not exist and returns how long after since that was.
func gone(t *testing.T, c *redis.Client, key string, since time.Time) time.Duration {
	t.Helper()
	for {
		n, err := c.Exists(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(since); n == 0 || took > 5*time.Second {
			return took
		}
		time.Sleep(time.Millisecond)
	}
}

func TestExpiryFollowsTheClock(t *testing.T) {
	c := start(t)
	for _, ttl := range []time.Duration{300 * time.Millisecond, time.Second} {
		from := time.Now()
		if err := c.Set(t.Context(), "k", "v", ttl).Err(); err != nil {
			t.Fatal(err)
		}
		took := gone(t, c, "k", from)
		if took < ttl-2*tick || took > ttl+500*time.Millisecond {
			t.Errorf("a key with PX %v was gone after %v", ttl, took)
		}
	}
}

// The error must not grow with the number of ticks: a long and a short life are wrong by the same tick.
func TestExpiryDoesNotDrift(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	from := time.Now()
	if err := c.Set(ctx, "long", "v", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	left, err := c.PTTL(ctx, "long").Result()
	if err != nil {
		t.Fatal(err)
	}
	passed := time.Since(from)
	if aged := time.Hour - left; aged < passed-500*time.Millisecond || aged > passed+2*tick {
		t.Errorf("after %v the key had aged %v", passed, aged)
	}
}

func TestRateLimitWorks(t *testing.T) {
	c := start(t)
	limiter := redis_rate.NewLimiter(c)
	limit := redis_rate.Limit{Rate: 2, Burst: 2, Period: time.Second}
	for i, want := range []int{1, 1, 0} {
		res, err := limiter.Allow(t.Context(), "user", limit)
		if err != nil {
			t.Fatal(err)
		}
		if res.Allowed != want {
			t.Errorf("call %d: allowed %d, want %d", i, res.Allowed, want)
		}
	}
	if _, err := limiter.AllowAtMost(t.Context(), "other", limit, 5); err != nil {
		t.Fatal(err)
	}
}

func TestLockWorks(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	locks := redislock.New(c)
	first, err := locks.Obtain(ctx, "lock", 300*time.Millisecond, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locks.Obtain(ctx, "lock", time.Second, nil); err != redislock.ErrNotObtained {
		t.Fatalf("second Obtain while held: %v", err)
	}
	if err := first.Refresh(ctx, 300*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	gone(t, c, "lock", time.Now())
	second, err := locks.Obtain(ctx, "lock", time.Second, nil)
	if err != nil {
		t.Fatalf("Obtain after the first expired: %v", err)
	}
	if err := second.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPublishReachesSubscribers(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	sub := c.Subscribe(ctx, "channel")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	// From a script, as the row cache does it.
	if err := redis.NewScript(`return redis.call('PUBLISH', ARGV[1], ARGV[2])`).Run(ctx, c, nil, "channel", "hello").Err(); err != nil {
		t.Fatal(err)
	}
	msg, err := sub.ReceiveMessage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Payload != "hello" {
		t.Errorf("payload %q", msg.Payload)
	}
}

func TestCloseTwice(t *testing.T) {
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
}
