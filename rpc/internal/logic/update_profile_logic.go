package logic

import (
	"context"

	"shares/rpc/internal/profile"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// UpdateProfileLogic implements the rpc UpdateProfile.
type UpdateProfileLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUpdateProfileLogic returns the logic of one call.
func NewUpdateProfileLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UpdateProfileLogic {
	return &UpdateProfileLogic{ctx: ctx, svcCtx: svcCtx}
}

// UpdateProfile writes the fields that are present, if all of them are valid.
func (l *UpdateProfileLogic) UpdateProfile(in *pb.UpdateProfileReq) (*pb.UpdateProfileResp, error) {
	change, err := profile.Columns(in)
	if err != nil {
		return nil, err
	}
	return &pb.UpdateProfileResp{}, store(l.ctx, l.svcCtx, in.GetCaller(), change)
}
