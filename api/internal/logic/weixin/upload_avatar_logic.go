package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/rpc/pb"
)

// UploadAvatarLogic implements weixin.upload_avatar.
type UploadAvatarLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUploadAvatarLogic returns the logic of one request.
func NewUploadAvatarLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UploadAvatarLogic {
	return &UploadAvatarLogic{ctx: ctx, svcCtx: svcCtx}
}

// UploadAvatar stores the picture as the caller's avatar and returns its URL.
func (l *UploadAvatarLogic) UploadAvatar() (*types.UploadAvatarResp, error) {
	picture, err := l.svcCtx.Users.UploadAvatar(l.ctx, &pb.UploadAvatarReq{
		Caller: session.Caller(l.ctx), Image: session.FromContext(l.ctx).File,
	})
	if err != nil {
		return nil, err
	}
	return &types.UploadAvatarResp{Url: l.svcCtx.Pictures.URL(l.ctx, picture.GetName())}, nil
}
