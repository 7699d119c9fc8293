package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/internal/reason"
	"shares/rpc/pb"
)

// UpsetUserInfoLogic implements weixin.upset_user_info.
type UpsetUserInfoLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUpsetUserInfoLogic returns the logic of one request.
func NewUpsetUserInfoLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UpsetUserInfoLogic {
	return &UpsetUserInfoLogic{ctx: ctx, svcCtx: svcCtx}
}

// UpsetUserInfo writes one setting.
func (l *UpsetUserInfoLogic) UpsetUserInfo(req *types.UpsetUserInfoReq) (*types.UpsetUserInfoResp, error) {
	if req.Key == "" {
		return nil, reason.Field("key", "required")
	}
	if req.Key == "avatarURL" {
		req.Value = l.svcCtx.Pictures.Stored(req.Value)
	}
	_, err := l.svcCtx.Users.UpdateSetting(l.ctx, &pb.UpdateSettingReq{
		Caller: session.Caller(l.ctx), Key: req.Key, Value: req.Value,
	})
	return &types.UpsetUserInfoResp{}, err
}
