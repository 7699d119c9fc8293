package logic

import (
	"shares/model"
	"shares/rpc/pb"
)

// Login exchanges the login code at WeChat, registers a new user and records the login of a known
// one.
func (l *LoginLogic) Login(in *pb.LoginReq) (*pb.LoginResp, error) {
	openid, unionid, err := l.Wechat.Code2Session(l.ctx, in.GetCode(), in.GetClientAppid())
	if err != nil {
		return nil, err
	}
	user, _, err := l.Users.LogIn(l.ctx, model.Login{
		Openid:   openid,
		Unionid:  unionid,
		Refresh:  in.GetRefresh(),
		Capacity: int64(l.Config.NewUserCapacity),
	})
	if err != nil {
		return nil, err
	}
	return &pb.LoginResp{
		Caller: &pb.Caller{UserId: user.Id, Epoch: uint64(user.SessionEpoch)},
		Openid: user.Openid,
	}, nil
}
