package logic

import (
	"context"
	"errors"
	"strconv"

	"shares/internal/pictures"
	"shares/model"
	"shares/rpc/pb"
)

// UploadAvatar stores the avatar and sets the caller's avatar_url to its name. A refused file
// counts towards the quota, because it costs as much time.
func (l *UploadAvatarLogic) UploadAvatar(in *pb.UploadAvatarReq) (*pb.UploadAvatarResp, error) {
	row, err := l.caller(in.GetCaller())
	if err != nil {
		return nil, err
	}
	giveBack, err := l.CountAvatar(l.ctx, strconv.FormatInt(row.Id, 10))
	if err != nil {
		return nil, err
	}
	picture, err := l.MakeAvatar(l.ctx, in.GetImage())
	if err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			giveBack()
		}
		return nil, err
	}
	name := pictures.NewAvatarName(row.Id, row.Openid, picture.Extension)
	if err := l.PutPicture(l.ctx, name, picture.Data); err != nil {
		giveBack()
		return nil, err
	}
	// Store the picture before the row refers to it.
	change := model.Columns{"avatar_url": name}
	err = l.Users.UpdateProfile(l.ctx, row.Id, row.SessionEpoch, change)
	if errors.Is(err, model.ErrNotFound) {
		l.Accounts.Unused(l.ctx, row, name)
	}
	if err != nil {
		return nil, callerGone(err)
	}
	l.Accounts.Replaced(l.ctx, row, name, l.start)
	return &pb.UploadAvatarResp{Name: name}, nil
}
