// Package limit limits requests per user within one process. Package internal/quota limits logins
// across all replicas.
package limit

import (
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// usersTracked bounds the memory of Users, about 150 bytes per user. An evicted user starts with a
// full burst again.
const usersTracked = 100_000

// Users limits requests per user in this process. With n replicas the effective limit is n times as
// high, which still stops a client that calls in a loop.
type Users struct {
	start    time.Time
	interval int64                              // between two requests, in nanoseconds; 0: no limit
	burst    int64                              // how far due may lie in the future, in nanoseconds
	due      *otter.Cache[int64, *atomic.Int64] // the theoretical arrival time (GCRA), since start
}

// NewUsers returns a limit of perSecond requests per user with bursts of up to burst requests.
// perSecond 0 means no limit.
func NewUsers(perSecond, burst int) (*Users, error) {
	due, err := otter.New(&otter.Options[int64, *atomic.Int64]{MaximumSize: usersTracked})
	if err != nil || perSecond == 0 {
		return &Users{}, err
	}
	interval := int64(time.Second) / int64(perSecond)
	return &Users{start: time.Now(), interval: interval, burst: int64(burst) * interval, due: due}, nil
}

// Allow counts one request of a user and reports whether it is within the limit.
func (u *Users) Allow(userID int64) bool {
	if u.interval == 0 {
		return true
	}
	due, ok := u.due.GetIfPresent(userID)
	if !ok {
		due, _ = u.due.SetIfAbsent(userID, new(atomic.Int64))
	}
	now := int64(time.Since(u.start))
	for {
		old := due.Load()
		next := max(old, now) + u.interval
		if next > now+u.burst {
			return false
		}
		if due.CompareAndSwap(old, next) {
			return true
		}
	}
}
