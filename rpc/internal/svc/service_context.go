// Package svc is what the logic of rpc works with.
package svc

import (
	"context"
	"errors"
	"log/slog"

	"shares/internal/reason"
	"shares/model"
	"shares/rpc/internal/avatar"
	"shares/rpc/internal/config"
	"shares/rpc/internal/wechat"
	"shares/rpc/pb"
)

// Wechat is what logic asks WeChat for; *wechat.Client is one.
type Wechat interface {
	Code2Session(ctx context.Context, code, clientAppID string) (wechat.Identity, error)
	PhoneNumber(ctx context.Context, code string) (string, error)
	IsRisky(ctx context.Context, openid, content string) (bool, error)
}

// Codes makes QR codes; *qrcode.Service is one.
type Codes interface {
	// Name returns the name in the bucket of the code for page and scene,
	// which userID is asking for.
	Name(ctx context.Context, userID int64, page, scene string) (string, error)
}

// Avatars makes avatars; *avatar.Maker is one.
type Avatars interface {
	Make(ctx context.Context, file []byte) (avatar.Picture, error)
}

// AvatarQuota limits the avatars of a user; *quota.Limit is one.
type AvatarQuota interface {
	Take(ctx context.Context, user string) (giveBack func(), err error)
}

// Pictures stores pictures; *pictures.Store is one.
type Pictures interface {
	Put(ctx context.Context, name string, data []byte) error
}

// ServiceContext is made once per process.
type ServiceContext struct {
	Config      config.Config
	Users       model.WxUserinfoModel
	Wechat      Wechat
	Codes       Codes
	Avatars     Avatars
	AvatarQuota AvatarQuota
	Pictures    Pictures
	Log         *slog.Logger
}

// Caller returns the row of who is calling, through the cache. Its error has
// the reason SESSION_INVALID when there is no such user, or when the epoch is
// not the row's: the session was revoked, or belongs to a deleted user.
func (s *ServiceContext) Caller(ctx context.Context, c *pb.Caller) (*model.WxUserinfo, error) {
	if c.GetUserId() == 0 {
		return nil, reason.Error(reason.SessionInvalid)
	}
	row, err := s.Users.FindOne(ctx, c.GetUserId())
	if err != nil {
		return nil, CallerGone(err)
	}
	if uint64(row.SessionEpoch) == c.GetEpoch() {
		return row, nil
	}
	// A revoked session, or one from a login after a revocation that missed the
	// cache: without a second look, that user could not log in until the cached
	// row ends.
	if row, err = s.Users.Recheck(ctx, row); err != nil {
		return nil, CallerGone(err)
	}
	if uint64(row.SessionEpoch) != c.GetEpoch() {
		return nil, reason.Error(reason.SessionInvalid)
	}
	return row, nil
}

// CallerGone turns "no such row" of a call for the caller's own row into
// SESSION_INVALID and leaves every other error as it is.
func CallerGone(err error) error {
	if errors.Is(err, model.ErrNotFound) {
		return reason.Error(reason.SessionInvalid)
	}
	return err
}
