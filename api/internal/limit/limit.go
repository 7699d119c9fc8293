// Package limit limits the requests of one user in one process. Logins are limited by
// internal/quota, over all replicas.
package limit

import (
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// usersTracked bounds the memory of Users, about 150 bytes each. A user who is
// evicted starts with a full burst again.
const usersTracked = 100_000

// Users limits requests per user in this process: n replicas admit n times as
// many, which is enough against a client that calls in a loop.
type Users struct {
	start    time.Time
	interval int64                              // between two requests, in nanoseconds; 0: no limit
	burst    int64                              // what the requests of a burst may be ahead of time
	due      *otter.Cache[int64, *atomic.Int64] // when all requests of a user are paid for, since start
}

// NewUsers returns a limit of perSecond requests a user, burst at once; perSecond 0
// is no limit.
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
