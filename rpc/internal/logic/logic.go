// Package logic implements the methods of the user service.
package logic

import (
	"context"
	"errors"
	"time"

	"shares/internal/reason"
	"shares/model"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// call is one call of any method.
type call struct {
	ctx context.Context
	*svc.ServiceContext
	start time.Time
}

func newCall(ctx context.Context, s *svc.ServiceContext) *call { return &call{ctx, s, s.Now()} }

// The types and functions that goctl's server expects.
type (
	LoginLogic         = call
	GetUserLogic       = call
	UpdateProfileLogic = call
	UpdateSettingLogic = call
	GetQrcodeLogic     = call
	UploadAvatarLogic  = call
	WithdrawLogic      = call
	EndSessionsLogic   = call
	DeleteUserLogic    = call
)

var (
	NewLoginLogic         = newCall
	NewGetUserLogic       = newCall
	NewUpdateProfileLogic = newCall
	NewUpdateSettingLogic = newCall
	NewGetQrcodeLogic     = newCall
	NewUploadAvatarLogic  = newCall
	NewWithdrawLogic      = newCall
	NewEndSessionsLogic   = newCall
	NewDeleteUserLogic    = newCall
)

// caller returns the caller's row, through the cache. Its error has the reason SESSION_INVALID when
// there is no such user, or when the epoch is not the row's: the session was revoked, or belongs to
// a deleted user.
func (l *call) caller(c *pb.Caller) (*model.WxUserinfo, error) {
	if c.GetUserId() == 0 {
		return nil, reason.Error(reason.SessionInvalid)
	}
	row, err := l.Users.FindOne(l.ctx, c.GetUserId())
	if err == nil && uint64(row.SessionEpoch) != c.GetEpoch() {
		// Either the session was revoked, or it is new and the cached row is from before a revocation.
		// In the second case the user could not log in until the cached row expires, so check again.
		row, err = l.Users.Recheck(l.ctx, row)
	}
	if err != nil {
		return nil, callerGone(err)
	}
	if uint64(row.SessionEpoch) != c.GetEpoch() {
		return nil, reason.Error(reason.SessionInvalid)
	}
	return row, nil
}

// callerGone turns model.ErrNotFound for the caller's own row into SESSION_INVALID and returns
// every other error unchanged.
func callerGone(err error) error {
	if errors.Is(err, model.ErrNotFound) {
		return reason.Error(reason.SessionInvalid)
	}
	return err
}
