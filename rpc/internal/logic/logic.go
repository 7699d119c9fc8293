// Package logic implements the methods of the user service.
package logic

import (
	"context"
	"errors"
	"time"

	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/model"
	"shares/rpc/internal/profile"
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

// store writes a validated change to the caller's row. The write itself compares the epoch with the
// row, so a session that was revoked but is still cached writes nothing.
func (l *call) store(caller *pb.Caller, change model.Columns) error {
	row, err := l.caller(caller)
	if err != nil {
		return err
	}
	if err := l.checkAvatar(row, change); err != nil {
		return err
	}
	if err := l.checkContent(row.Openid, change); err != nil {
		return err
	}
	if err := l.Users.UpdateProfile(l.ctx, row.Id, row.SessionEpoch, change); err != nil {
		return callerGone(err)
	}
	if _, replaced := change["avatar_url"]; replaced {
		l.Accounts.Replaced(l.ctx, row, "", l.start)
	}
	return nil
}

// checkAvatar returns an error if change sets an avatar of this service that the row does not show:
// its object belongs to another user, or is deleted. It removes the current avatar from change.
func (l *call) checkAvatar(row *model.WxUserinfo, change model.Columns) error {
	sent, _ := change["avatar_url"].(string)
	name := pictures.AvatarName(sent)
	if name == "" {
		return nil
	}
	if pictures.AvatarName(row.AvatarUrl) != name { // the cached row may be from before an upload
		var err error
		if row, err = l.Users.Recheck(l.ctx, row); err != nil {
			return callerGone(err)
		}
	}
	if pictures.AvatarName(row.AvatarUrl) != name {
		return reason.Field(profile.AvatarURL, "not_own_avatar")
	}
	delete(change, "avatar_url")
	return nil
}

// checkContent has WeChat check a nickname. If the check fails, because WeChat is unavailable or
// the user was not active in the last two hours, WECHAT_CONTENT_CHECK_AWAY decides.
func (l *call) checkContent(openid string, change model.Columns) error {
	nickName, _ := change["nick_name"].(string)
	if l.Config.ContentCheck != "on" || nickName == "" {
		return nil
	}
	risky, err := l.Wechat.IsRisky(l.ctx, openid, nickName)
	switch {
	case l.ctx.Err() != nil:
		return l.ctx.Err()
	case risky:
		return reason.Field(profile.NickName, "risky")
	case err == nil:
		return nil
	}
	l.Log.Warn("content check failed", "error", err, "choice", l.Config.ContentCheckAway)
	if l.Config.ContentCheckAway == "refuse" {
		return reason.Field(profile.NickName, "unchecked")
	}
	return nil
}
