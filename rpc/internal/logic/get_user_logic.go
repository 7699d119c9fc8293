package logic

import (
	"context"

	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// GetUserLogic answers the rpc GetUser.
type GetUserLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetUserLogic returns the logic of one call.
func NewGetUserLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetUserLogic {
	return &GetUserLogic{ctx: ctx, svcCtx: svcCtx}
}

// GetUser answers the caller's row.
func (l *GetUserLogic) GetUser(in *pb.GetUserReq) (*pb.User, error) {
	row, err := l.svcCtx.Caller(l.ctx, in.GetCaller())
	if err != nil {
		return nil, err
	}
	return &pb.User{
		Openid:    row.Openid,
		NickName:  row.NickName,
		AvatarUrl: row.AvatarUrl,
		Gender:    row.Gender,
		City:      row.City,
		Province:  row.Province,
		Country:   row.Country,
		Phone:     row.Phone,
		Group:     row.Group,
		Rg:        row.Rg != 0,
		Only20:    row.Only20 != 0,
		Capacity:  int32(row.Capacity),
	}, nil
}
