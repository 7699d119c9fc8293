package logic

import (
	"shares/rpc/internal/profile"
	"shares/rpc/pb"
)

// GetUser returns the caller's row.
func (l *GetUserLogic) GetUser(in *pb.GetUserReq) (*pb.User, error) {
	row, err := l.caller(in.GetCaller())
	if err != nil {
		return nil, err
	}
	return profile.User(row), nil
}
