package logic

import (
	"context"

	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// UploadAvatarLogic answers the rpc UploadAvatar.
type UploadAvatarLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUploadAvatarLogic returns the logic of one call.
func NewUploadAvatarLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UploadAvatarLogic {
	return &UploadAvatarLogic{ctx: ctx, svcCtx: svcCtx}
}

// UploadAvatar stores what the picture is made into. It is there before
// anything refers to it.
func (l *UploadAvatarLogic) UploadAvatar(in *pb.UploadAvatarReq) (*pb.UploadAvatarResp, error) {
	if _, err := l.svcCtx.Caller(l.ctx, in.GetCaller()); err != nil {
		return nil, err
	}
	picture, err := l.svcCtx.Avatars.Make(l.ctx, in.GetImage())
	if err != nil {
		return nil, err
	}
	if err := l.svcCtx.Pictures.Put(l.ctx, picture.Name, picture.ContentType, picture.Data); err != nil {
		return nil, err
	}
	return &pb.UploadAvatarResp{Name: picture.Name}, nil
}
