package logic

import (
	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/model"
	"shares/rpc/internal/profile"
	"shares/rpc/pb"
)

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
