package devredis

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// A key expires with an error of at most one tick, even after a long life.
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
				t.Errorf("a key with a life of %v is gone two ticks before its end", ttl)
			}
			time.Sleep(4 * tick)
			if mini.Exists("k") {
				t.Errorf("a key with a life of %v exists two ticks after its end", ttl)
			}
		}
	})
}
