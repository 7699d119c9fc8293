package logic

import (
	"shares/internal/requestid"
	"shares/model"
	"shares/rpc/pb"
)

// EndSessions gives the caller a new session epoch.
func (l *EndSessionsLogic) EndSessions(in *pb.EndSessionsReq) (*pb.EndSessionsResp, error) {
	row, err := l.caller(in.GetCaller())
	if err != nil {
		return nil, err
	}
	change := model.Columns{"session_epoch": model.NewEpoch()}
	if err := l.Users.UpdateProfile(l.ctx, row.Id, row.SessionEpoch, change); err != nil {
		return nil, callerGone(err)
	}
	l.Log.Info("user ended all sessions", "request_id", requestid.FromContext(l.ctx)) // an audit line: no personal data
	return &pb.EndSessionsResp{}, nil
}
