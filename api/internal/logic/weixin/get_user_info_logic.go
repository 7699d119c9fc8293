package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/rpc/pb"
)

// GetUserInfoLogic implements weixin.get_user_info.
type GetUserInfoLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetUserInfoLogic returns the logic of one request.
func NewGetUserInfoLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetUserInfoLogic {
	return &GetUserInfoLogic{ctx: ctx, svcCtx: svcCtx}
}

// GetUserInfo returns the caller's profile and settings.
func (l *GetUserInfoLogic) GetUserInfo(*types.GetUserInfoReq) (*types.GetUserInfoResp, error) {
	user, err := l.svcCtx.Users.GetUser(l.ctx, &pb.GetUserReq{Caller: session.Caller(l.ctx)})
	if err != nil {
		return nil, err
	}
	return userInfo(user, l.svcCtx.Pictures.Shown(l.ctx, user.GetAvatarUrl())), nil
}
