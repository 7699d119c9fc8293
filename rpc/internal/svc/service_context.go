// Package svc holds the dependencies of the rpc logic.
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

// Wechat makes the calls to WeChat; *wechat.Client is one.
type Wechat interface {
	Code2Session(ctx context.Context, code, clientAppID string) (wechat.Identity, error)
	PhoneNumber(ctx context.Context, code string) (string, error)
	IsRisky(ctx context.Context, openid, content string) (bool, error)
}

// Codes makes QR codes; *qrcode.Service is one.
type Codes interface {
	// Name returns the name in the bucket of the code for page and scene. A new code counts for
	// userID.
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

// ServiceContext is created once per process.
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

// Caller returns the caller's row, through the cache. Its error has the reason SESSION_INVALID when
// there is no such user, or when the epoch is not the row's: the session was revoked, or belongs to
// a deleted user.
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
	// Either the session was revoked, or it is new and the cached row is from before a revocation.
	// In the second case the user could not log in until the cached row expires, so check again.
	if row, err = s.Users.Recheck(ctx, row); err != nil {
		return nil, CallerGone(err)
	}
	if uint64(row.SessionEpoch) != c.GetEpoch() {
		return nil, reason.Error(reason.SessionInvalid)
	}
	return row, nil
}

// CallerGone turns model.ErrNotFound for the caller's own row into SESSION_INVALID and returns
// every other error unchanged.
func CallerGone(err error) error {
	if errors.Is(err, model.ErrNotFound) {
		return reason.Error(reason.SessionInvalid)
	}
	return err
}
