package logic

import (
	"context"

	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// GetQrcodeLogic implements the rpc GetQrcode.
type GetQrcodeLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetQrcodeLogic returns the logic of one call.
func NewGetQrcodeLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetQrcodeLogic {
	return &GetQrcodeLogic{ctx: ctx, svcCtx: svcCtx}
}

// GetQrcode returns the name of the code's picture. The first call makes it.
func (l *GetQrcodeLogic) GetQrcode(in *pb.GetQrcodeReq) (*pb.GetQrcodeResp, error) {
	row, err := l.svcCtx.Caller(l.ctx, in.GetCaller())
	if err != nil {
		return nil, err
	}
	name, err := l.svcCtx.Codes.Name(l.ctx, row.Id, in.GetPage(), in.GetScene())
	if err != nil {
		return nil, err
	}
	return &pb.GetQrcodeResp{Name: name}, nil
}
