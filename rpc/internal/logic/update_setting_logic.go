package logic

import (
	"context"

	"shares/internal/reason"
	"shares/rpc/internal/profile"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// UpdateSettingLogic implements the rpc UpdateSetting.
type UpdateSettingLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUpdateSettingLogic returns the logic of one call.
func NewUpdateSettingLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UpdateSettingLogic {
	return &UpdateSettingLogic{ctx: ctx, svcCtx: svcCtx}
}

// UpdateSetting writes one field.
func (l *UpdateSettingLogic) UpdateSetting(in *pb.UpdateSettingReq) (*pb.UpdateSettingResp, error) {
	if in.GetKey() == profile.PhoneCode {
		return l.verifiedPhone(in)
	}
	change, err := profile.Setting(in.GetKey(), in.GetValue())
	if err != nil {
		return nil, err
	}
	// Clearing the number needs no proof.
	if in.GetKey() == profile.Phone && change["phone"] != "" && l.svcCtx.Config.Phone == "verified" {
		return nil, reason.Field(profile.Phone, "phone_verified_only")
	}
	return &pb.UpdateSettingResp{}, store(l.ctx, l.svcCtx, in.GetCaller(), change)
}

// verifiedPhone stores the number that WeChat returns for the code. The caller is checked first: a
// code is valid once and must not be spent on an invalid session.
func (l *UpdateSettingLogic) verifiedPhone(in *pb.UpdateSettingReq) (*pb.UpdateSettingResp, error) {
	if err := profile.CheckPhoneCode(in.GetValue()); err != nil {
		return nil, err
	}
	if _, err := l.svcCtx.Caller(l.ctx, in.GetCaller()); err != nil {
		return nil, err
	}
	number, err := l.svcCtx.Wechat.PhoneNumber(l.ctx, in.GetValue())
	if why, _ := reason.Of(err); why == reason.LoginCodeRefused {
		return nil, reason.Field(profile.PhoneCode, "phone_code")
	}
	if err != nil {
		return nil, err
	}
	change, err := profile.Setting(profile.Phone, number)
	if err != nil {
		return nil, err
	}
	return &pb.UpdateSettingResp{}, store(l.ctx, l.svcCtx, in.GetCaller(), change)
}
