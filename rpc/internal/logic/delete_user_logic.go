package logic

import (
	"shares/internal/reason"
	"shares/rpc/pb"
)

// DeleteUser deletes the caller's account. A session is not enough for that: the login code must be
// the same user's. The caller is checked first, because a code is valid once.
func (l *DeleteUserLogic) DeleteUser(in *pb.DeleteUserReq) (*pb.DeleteUserResp, error) {
	row, err := l.caller(in.GetCaller())
	if err != nil {
		return nil, err
	}
	openid, _, err := l.Wechat.Code2Session(l.ctx, in.GetCode(), in.GetClientAppid())
	if err != nil {
		return nil, err
	}
	if openid != row.Openid {
		return nil, reason.Field("jscode", "other_user")
	}
	if err := l.Accounts.Delete(l.ctx, row); err != nil {
		return nil, callerGone(err)
	}
	l.audit("user deleted the account")
	return &pb.DeleteUserResp{}, nil
}
