package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
)

// UpdateUserInfoLogic implements weixin.update_user_info.
type UpdateUserInfoLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUpdateUserInfoLogic returns the logic of one request.
func NewUpdateUserInfoLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UpdateUserInfoLogic {
	return &UpdateUserInfoLogic{ctx: ctx, svcCtx: svcCtx}
}

// UpdateUserInfo writes the fields that were sent. It ignores the nickname and the avatar of
// WeChat's anonymised profile (is_demote), because they are the same for all users.
func (l *UpdateUserInfoLogic) UpdateUserInfo(req *types.WxUserinfo) (*types.UpdateUserInfoResp, error) {
	if req.IsDemote {
		req.NickName, req.AvatarURL = nil, nil
	}
	if req.AvatarURL != nil { // clients send back the URL that get_user_info returned
		*req.AvatarURL = l.svcCtx.Pictures.Stored(*req.AvatarURL)
	}
	_, err := l.svcCtx.Users.UpdateProfile(l.ctx, profileChange(session.Caller(l.ctx), req))
	return &types.UpdateUserInfoResp{}, err
}
