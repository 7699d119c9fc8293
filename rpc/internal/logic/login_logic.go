package logic

import (
	"context"

	"shares/model"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// LoginLogic implements the rpc Login.
type LoginLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewLoginLogic returns the logic of one call.
func NewLoginLogic(ctx context.Context, svcCtx *svc.ServiceContext) *LoginLogic {
	return &LoginLogic{ctx: ctx, svcCtx: svcCtx}
}

// Login exchanges the login code at WeChat, registers a new user and records the login of a known
// one.
func (l *LoginLogic) Login(in *pb.LoginReq) (*pb.LoginResp, error) {
	identity, err := l.svcCtx.Wechat.Code2Session(l.ctx, in.GetCode(), in.GetClientAppid())
	if err != nil {
		return nil, err
	}
	user, _, err := l.svcCtx.Users.LogIn(l.ctx, model.Login{
		Openid:   identity.OpenID,
		Unionid:  identity.UnionID,
		Refresh:  in.GetRefresh(),
		Capacity: int64(l.svcCtx.Config.NewUserCapacity),
	})
	if err != nil {
		return nil, err
	}
	return &pb.LoginResp{
		Caller: &pb.Caller{UserId: user.Id, Epoch: uint64(user.SessionEpoch)},
		Openid: user.Openid,
	}, nil
}
