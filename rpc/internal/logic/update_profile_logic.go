package logic

import (
	"shares/rpc/internal/profile"
	"shares/rpc/pb"
)

// UpdateProfile writes the fields that are present, if all of them are valid.
func (l *UpdateProfileLogic) UpdateProfile(in *pb.UpdateProfileReq) (*pb.UpdateProfileResp, error) {
	change, err := profile.Columns(in)
	if err != nil {
		return nil, err
	}
	return &pb.UpdateProfileResp{}, l.store(in.GetCaller(), change)
}
