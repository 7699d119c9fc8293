package devredis

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func start(t *testing.T) *redis.Client {
	t.Helper()
	address, stop, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c := redis.NewClient(&redis.Options{Addr: address})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The error of an expiry is one tick, for a long life too.
func TestExpiryFollowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mini, stopped := miniredis.NewMiniRedis(), make(chan struct{})
		go age(mini, stopped)
		defer close(stopped)
		for _, ttl := range []time.Duration{300 * time.Millisecond, time.Second, 10 * time.Minute} {
			if err := mini.Set("k", "v"); err != nil {
				t.Fatal(err)
			}
			mini.SetTTL("k", ttl)
			time.Sleep(ttl - 2*tick)
			if !mini.Exists("k") {
				t.Errorf("a key that lives %v is gone two ticks before", ttl)
			}
			time.Sleep(4 * tick)
			if mini.Exists("k") {
				t.Errorf("a key that lives %v is there two ticks after", ttl)
			}
		}
	})
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
