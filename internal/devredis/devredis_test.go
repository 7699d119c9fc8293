package devredis

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/bsm/redislock"
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

// The error of an expiry is one tick, for a long life too.
func TestExpiryFollowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{mini: miniredis.NewMiniRedis(), stop: make(chan struct{})}
		s.done.Go(s.age)
		defer s.Close()
		for _, ttl := range []time.Duration{300 * time.Millisecond, time.Second, 10 * time.Minute} {
			if err := s.mini.Set("k", "v"); err != nil {
				t.Fatal(err)
			}
			s.mini.SetTTL("k", ttl)
			time.Sleep(ttl - 2*tick)
			if !s.mini.Exists("k") {
				t.Errorf("a key that lives %v is gone two ticks before", ttl)
			}
			time.Sleep(4 * tick)
			if s.mini.Exists("k") {
				t.Errorf("a key that lives %v is there two ticks after", ttl)
			}
		}
	})
}

func TestLockWorks(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	locks := redislock.New(c)
	first, err := locks.Obtain(ctx, "lock", time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locks.Obtain(ctx, "lock", time.Second, nil); err != redislock.ErrNotObtained {
		t.Fatalf("second Obtain while held: %v", err)
	}
	if err := first.Refresh(ctx, 300*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	wait := redislock.LimitRetry(redislock.LinearBackoff(10*time.Millisecond), 6000)
	second, err := locks.Obtain(ctx, "lock", time.Minute, &redislock.Options{RetryStrategy: wait})
	if err != nil {
		t.Fatalf("Obtain after the first expired: %v", err)
	}
	if err := second.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPublishReachesSubscribers(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
