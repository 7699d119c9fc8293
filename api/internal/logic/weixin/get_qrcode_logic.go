package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/rpc/pb"
)

// GetQrcodeLogic implements weixin.get_qrcode.
type GetQrcodeLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetQrcodeLogic returns the logic of one request.
func NewGetQrcodeLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetQrcodeLogic {
	return &GetQrcodeLogic{ctx: ctx, svcCtx: svcCtx}
}

// GetQrcode returns the URL of the QR code of a page and a scene.
func (l *GetQrcodeLogic) GetQrcode(req *types.GetQrcodeReq) (*types.GetQrcodeResp, error) {
	code, err := l.svcCtx.Users.GetQrcode(l.ctx, &pb.GetQrcodeReq{
		Caller: session.Caller(l.ctx), Page: req.Page, Scene: req.Scene,
	})
	if err != nil {
		return nil, err
	}
	return &types.GetQrcodeResp{Url: l.svcCtx.Pictures.URL(l.ctx, code.GetName())}, nil
}
