package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/rpc/pb"
)

// DeleteUserInfoLogic implements weixin.delete_user_info.
type DeleteUserInfoLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewDeleteUserInfoLogic returns the logic of one request.
func NewDeleteUserInfoLogic(ctx context.Context, svcCtx *svc.ServiceContext) *DeleteUserInfoLogic {
	return &DeleteUserInfoLogic{ctx: ctx, svcCtx: svcCtx}
}

// DeleteUserInfo deletes the caller's account.
func (l *DeleteUserInfoLogic) DeleteUserInfo(req *types.DeleteUserInfoReq) (*types.DeleteUserInfoResp, error) {
	if err := checkCode(req.Jscode); err != nil {
		return nil, err
	}
	_, err := l.svcCtx.Users.DeleteUser(l.ctx, &pb.DeleteUserReq{
		Caller: session.Caller(l.ctx), Code: req.Jscode, ClientAppid: session.FromContext(l.ctx).ClientAppID,
	})
	session.Clear(l.ctx)
	return &types.DeleteUserInfoResp{}, err
}
