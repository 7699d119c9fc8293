package logic

import (
	"context"

	"shares/model"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// LoginLogic answers the rpc Login.
type LoginLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewLoginLogic returns the logic of one call.
func NewLoginLogic(ctx context.Context, svcCtx *svc.ServiceContext) *LoginLogic {
	return &LoginLogic{ctx: ctx, svcCtx: svcCtx}
}

// Login asks WeChat who the code belongs to, registers a new user and notes
// the login of a known one.
func (l *LoginLogic) Login(in *pb.LoginReq) (*pb.LoginResp, error) {
	identity, err := l.svcCtx.Wechat.Code2Session(l.ctx, in.GetCode())
	if err != nil {
		return nil, err
	}
	who, created, err := l.svcCtx.Users.Register(l.ctx, model.NewUser{
		Openid:   identity.OpenID,
		Unionid:  identity.UnionID,
		Capacity: int64(l.svcCtx.Config.NewUserCapacity),
	})
	if err != nil {
		return nil, err
	}
	if !created {
		var unionid *string
		if in.GetRefresh() && identity.UnionID != "" && identity.UnionID != who.Unionid {
			unionid = &identity.UnionID
		}
		if err := l.svcCtx.Users.Touch(l.ctx, who.Id, unionid); err != nil {
			return nil, err
		}
	}
	return &pb.LoginResp{
		Caller: &pb.Caller{UserId: who.Id, Epoch: uint64(who.SessionEpoch)},
		Openid: who.Openid,
	}, nil
}
