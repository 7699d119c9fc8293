package avatar

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/rpc/internal/quota"
)

// Cap bounds what one user can fill the bucket with. It is counted over all replicas; while Redis is away it lets everybody in.
type Cap struct {
	Redis   redis.UniversalClient
	App     string        // installations for several apps may share one Redis
	PerDay  int           // pictures of one user in 24 hours; 0: any number
	Timeout time.Duration // of a call to Redis
	Log     *slog.Logger
}

// CapError says that the user has had as many pictures made as one user may.
type CapError struct {
	RetryAfter time.Duration // positive
}

func (*CapError) Error() string { return "user's cap of avatars reached" }

// Take counts one picture of a user, which giveBack takes back. Its only error is a *CapError.
func (c *Cap) Take(ctx context.Context, userID int64) (giveBack func(), err error) {
	bounded, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	key := "shares:avatar:" + c.App + ":user:" + strconv.FormatInt(userID, 10)
	wait, undo, err := quota.Take(bounded, c.Redis, key, quota.Window{Length: 24 * time.Hour, Max: c.PerDay})
	if err != nil {
		c.Log.WarnContext(ctx, "avatar is not counted without redis", "error", err)
		return func() {}, nil
	}
	if wait > 0 {
		return nil, &CapError{RetryAfter: wait}
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
		defer cancel()
		if err := undo(ctx); err != nil {
			c.Log.WarnContext(ctx, "avatar that was not made stays counted", "error", err)
		}
	}, nil
}
