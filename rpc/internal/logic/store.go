package logic

import (
	"context"

	"shares/internal/reason"
	"shares/model"
	"shares/rpc/internal/profile"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// store writes a validated change to the caller's row. The write itself compares the epoch with the
// row, so a session that was revoked but is still cached writes nothing.
func store(ctx context.Context, s *svc.ServiceContext, caller *pb.Caller, change model.Columns) error {
	row, err := s.Caller(ctx, caller)
	if err != nil {
		return err
	}
	if err := checkContent(ctx, s, row.Openid, change); err != nil {
		return err
	}
	return svc.CallerGone(s.Users.UpdateProfile(ctx, row.Id, row.SessionEpoch, change))
}

// checkContent has WeChat check a nickname. If the check fails, because WeChat is unavailable or
// the user was not active in the last two hours, WECHAT_CONTENT_CHECK_AWAY decides.
func checkContent(ctx context.Context, s *svc.ServiceContext, openid string, change model.Columns) error {
	nickName, _ := change["nick_name"].(string)
	if s.Config.ContentCheck != "on" || nickName == "" {
		return nil
	}
	risky, err := s.Wechat.IsRisky(ctx, openid, nickName)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.Log.Warn("content check failed", "error", err, "choice", s.Config.ContentCheckAway)
		if s.Config.ContentCheckAway == "refuse" {
			return reason.Field(profile.NickName, "unchecked")
		}
		return nil
	}
	if risky {
		return reason.Field(profile.NickName, "risky")
	}
	return nil
}
