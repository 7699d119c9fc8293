// Package account deletes accounts, and the avatars that no user has any more.
package account

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"shares/internal/pictures"
	"shares/model"
)

const (
	// cleanTimeout is how long a write may wait for the bucket after its commit.
	cleanTimeout = 2 * time.Second

	// uploadTime is longer than any upload takes between storing the picture and the row.
	uploadTime = time.Minute

	// sweepAge is the age at which Sweep removes a picture.
	sweepAge = 24 * time.Hour
)

// Cleaner deletes accounts and avatars. Only avatars in the user's own folder are deleted with a
// row. Names of earlier versions have no folder, because users with equal pictures share them;
// Sweep removes those.
type Cleaner struct {
	Users    model.WxUserinfoModel
	Pictures interface { // implemented by *pictures.Store
		List(ctx context.Context, prefix string) iter.Seq2[pictures.Object, error]
		Remove(ctx context.Context, name string) error
	}
	Log *slog.Logger
}

// Delete deletes the user's row and then the user's avatars. It returns ErrNotFound if there was no
// row; an earlier attempt may have deleted it, so the avatars are deleted then, too.
func (c *Cleaner) Delete(ctx context.Context, user *model.WxUserinfo) error {
	err := c.Users.Delete(ctx, user.Id)
	if err == nil || errors.Is(err, model.ErrNotFound) {
		c.clean(ctx, user, func(pictures.Object) bool { return true })
	}
	return err
}

// Replaced deletes the avatar that user, the row before a write, shows. It also deletes what earlier
// failures left: avatars that are older than the write, which began at start, except kept, the new
// one.
func (c *Cleaner) Replaced(ctx context.Context, user *model.WxUserinfo, kept string, start time.Time) {
	former := pictures.AvatarName(user.AvatarUrl)
	c.clean(ctx, user, func(o pictures.Object) bool {
		return o.Name != kept && (o.Name == former || o.Modified.Before(start.Add(-uploadTime)))
	})
}

// Unused deletes an avatar of the user that no row has ever shown.
func (c *Cleaner) Unused(ctx context.Context, user *model.WxUserinfo, name string) {
	c.clean(ctx, user, func(o pictures.Object) bool { return o.Name == name })
}

// clean deletes the avatars in the user's folder for which drop returns true. The row is written
// already, so a failure is only logged.
func (c *Cleaner) clean(ctx context.Context, user *model.WxUserinfo, drop func(pictures.Object) bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	for o, err := range c.Pictures.List(ctx, pictures.AvatarFolder(user.Id, user.Openid)) {
		if err == nil && drop(o) {
			err = c.Pictures.Remove(ctx, o.Name)
		}
		if err != nil {
			c.Log.Warn("avatars were not deleted: the user's next write repeats it, or `shares user sweep`",
				"error", err)
			return
		}
	}
}

// Sweep calls found with the avatars that are in no row and older than sweepAge, and removes them if
// remove is set.
func (c *Cleaner) Sweep(ctx context.Context, remove bool, found func(name string)) error {
	used := map[string]bool{}
	err := c.Users.AvatarURLs(ctx, func(value string) { used[pictures.AvatarName(value)] = true })
	if err != nil {
		return err
	}
	limit := time.Now().Add(-sweepAge)
	for o, err := range c.Pictures.List(ctx, pictures.AvatarPrefix) {
		if err != nil {
			return err
		}
		if used[o.Name] || o.Modified.After(limit) {
			continue
		}
		found(o.Name)
		if remove {
			if err := c.Pictures.Remove(ctx, o.Name); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
		}
	}
	return nil
}
