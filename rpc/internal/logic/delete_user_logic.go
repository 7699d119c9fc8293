package logic

import (
	"shares/internal/reason"
	"shares/internal/requestid"
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
	l.Log.Info("user deleted the account", "request_id", requestid.FromContext(l.ctx)) // an audit line: no personal data
	return &pb.DeleteUserResp{}, nil
}
