package logic

import (
	"context"

	"shares/rpc/internal/profile"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// GetUserLogic implements the rpc GetUser.
type GetUserLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetUserLogic returns the logic of one call.
func NewGetUserLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetUserLogic {
	return &GetUserLogic{ctx: ctx, svcCtx: svcCtx}
}

// GetUser returns the caller's row.
func (l *GetUserLogic) GetUser(in *pb.GetUserReq) (*pb.User, error) {
	row, err := l.svcCtx.Caller(l.ctx, in.GetCaller())
	if err != nil {
		return nil, err
	}
	return profile.User(row), nil
}
