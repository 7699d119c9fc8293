package devredis

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
)

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
