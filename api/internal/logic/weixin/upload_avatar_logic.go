package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/api/internal/upload"
	"shares/rpc/pb"
)

// UploadAvatarLogic answers weixin.upload_avatar.
type UploadAvatarLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUploadAvatarLogic returns the logic of one request.
func NewUploadAvatarLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UploadAvatarLogic {
	return &UploadAvatarLogic{ctx: ctx, svcCtx: svcCtx}
}

// UploadAvatar stores the picture and sets the profile's avatarURL to its
// address. That is a call of its own, because the address of a picture is
// api's knowledge: the service's public host, or a CDN's. A picture that is
// left without a profile between the two is found again by its content.
func (l *UploadAvatarLogic) UploadAvatar() (*types.UploadAvatarResp, error) {
	caller := session.Caller(l.ctx)
	picture, err := l.svcCtx.Users.UploadAvatar(l.ctx, &pb.UploadAvatarReq{Caller: caller, Image: upload.FromContext(l.ctx)})
	if err != nil {
		return nil, err
	}
	url := l.svcCtx.Pictures.URL(l.ctx, picture.GetName())
	if _, err := l.svcCtx.Users.UpdateProfile(l.ctx, &pb.UpdateProfileReq{Caller: caller, AvatarUrl: &url}); err != nil {
		return nil, err
	}
	return &types.UploadAvatarResp{Url: url}, nil
}
