package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newUsers(t *testing.T, perSecond, burst int) *Users {
	t.Helper()
	u, err := NewUsers(perSecond, burst)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(t, 2, 3)
		for i, step := range []struct {
			after time.Duration
			user  int64
			want  bool
		}{
			{0, 1, true}, {0, 1, true}, {0, 1, true}, {0, 1, false}, // the burst
			{0, 2, true}, {0, 1, false}, // each user has a separate limit
			{499 * time.Millisecond, 1, false}, {time.Millisecond, 1, true}, {0, 1, false}, // two per second
			{time.Hour, 1, true}, {0, 1, true}, {0, 1, true}, {0, 1, false}, // a full burst again, not more
		} {
			time.Sleep(step.after)
			if got := u.Allow(step.user); got != step.want {
				t.Errorf("step %d, user %d: got %v, want %v", i, step.user, got, step.want)
			}
		}
	})
}

// Concurrent first requests of a user share one limit.
func TestUsersConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(t, 1, 5)
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if u.Allow(1) {
					admitted.Add(1)
				}
			})
		}
		wg.Wait()
		if n := admitted.Load(); n != 5 {
			t.Errorf("%d of 40 admitted, want 5", n)
		}
	})
}

func TestNoLimit(t *testing.T) {
	u := newUsers(t, 0, 1)
	for range 100 {
		if !u.Allow(1) {
			t.Fatal("a request is refused")
		}
	}
}
