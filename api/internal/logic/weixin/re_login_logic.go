package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/internal/reason"
	"shares/rpc/pb"
)

// ReLoginLogic implements weixin.re_login.
type ReLoginLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewReLoginLogic returns the logic of one request.
func NewReLoginLogic(ctx context.Context, svcCtx *svc.ServiceContext) *ReLoginLogic {
	return &ReLoginLogic{ctx: ctx, svcCtx: svcCtx}
}

// ReLogin renews the session, or returns Relogin if there is no valid one. If the session cannot be
// checked it returns an error, because Relogin would send every client to log in during an outage.
func (l *ReLoginLogic) ReLogin(*types.ReLoginReq) (*types.ReLoginResp, error) {
	caller := session.Caller(l.ctx)
	if caller == nil {
		return l.logInAgain()
	}
	user, err := l.svcCtx.Users.GetUser(l.ctx, &pb.GetUserReq{Caller: caller})
	if err != nil {
		if why, _ := reason.Of(err); why == reason.SessionInvalid {
			return l.logInAgain()
		}
		return nil, err
	}
	id, s := l.svcCtx.Sessions.Renew(session.FromContext(l.ctx).Session)
	session.HandOut(l.ctx, id, s)
	return &types.ReLoginResp{SessionId: id, OpenId: user.GetOpenid(), OverdueTime: s.Expires.Unix()}, nil
}

func (l *ReLoginLogic) logInAgain() (*types.ReLoginResp, error) {
	session.Clear(l.ctx)
	return &types.ReLoginResp{Relogin: true}, nil
}
