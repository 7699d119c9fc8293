package logic

import (
	"context"
	"errors"

	"shares/rpc/internal/avatar"
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
// anything refers to it. A file that is refused counts as a picture: it took as
// long.
func (l *UploadAvatarLogic) UploadAvatar(in *pb.UploadAvatarReq) (*pb.UploadAvatarResp, error) {
	row, err := l.svcCtx.Caller(l.ctx, in.GetCaller())
	if err != nil {
		return nil, err
	}
	giveBack, err := l.svcCtx.AvatarCap.Take(l.ctx, row.Id)
	if err != nil {
		return nil, err
	}
	picture, err := l.svcCtx.Avatars.Make(l.ctx, in.GetImage())
	if err == nil {
		err = l.svcCtx.Pictures.Put(l.ctx, picture.Name, picture.ContentType, picture.Data)
	}
	if err != nil {
		if !errors.Is(err, avatar.ErrNotPicture) && !errors.Is(err, avatar.ErrTooLarge) {
			giveBack()
		}
		return nil, err
	}
	return &pb.UploadAvatarResp{Name: picture.Name}, nil
}
