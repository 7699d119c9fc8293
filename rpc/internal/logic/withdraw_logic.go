package logic

import (
	"errors"

	"shares/model"
	"shares/rpc/pb"
)

// Withdraw clears the columns of the fields, or deletes the account. The same call may come again, on
// any replica: a user that is gone is a success.
func (l *WithdrawLogic) Withdraw(in *pb.WithdrawReq) (*pb.WithdrawResp, error) {
	row, err := l.Users.FindByOpenid(l.ctx, in.GetOpenid())
	if err == nil && in.GetAccount() {
		err = l.Accounts.Delete(l.ctx, row)
	} else if err == nil {
		change := model.Columns{}
		for column, cleared := range map[string]bool{
			"nick_name": in.GetNickName(), "avatar_url": in.GetAvatar(), "phone": in.GetPhone(),
		} {
			if cleared {
				change[column] = ""
			}
		}
		err = l.Users.SetAdmin(l.ctx, row.Id, change)
		if err == nil && in.GetAvatar() {
			l.Accounts.Replaced(l.ctx, row, "", l.start)
		}
	}
	if errors.Is(err, model.ErrNotFound) {
		err = nil
	}
	return &pb.WithdrawResp{}, err
}
