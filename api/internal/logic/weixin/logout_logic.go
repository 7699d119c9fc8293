package weixin

import (
	"context"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/rpc/pb"
)

// LogoutLogic implements weixin.logout.
type LogoutLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewLogoutLogic returns the logic of one request.
func NewLogoutLogic(ctx context.Context, svcCtx *svc.ServiceContext) *LogoutLogic {
	return &LogoutLogic{ctx: ctx, svcCtx: svcCtx}
}

// Logout ends all sessions of the caller.
func (l *LogoutLogic) Logout(*types.LogoutReq) (*types.LogoutResp, error) {
	_, err := l.svcCtx.Users.EndSessions(l.ctx, &pb.EndSessionsReq{Caller: session.Caller(l.ctx)})
	session.Clear(l.ctx)
	return &types.LogoutResp{}, err
}
