package logic

import (
	"shares/internal/reason"
	"shares/rpc/internal/profile"
	"shares/rpc/pb"
)

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
	if in.GetKey() == profile.Phone && change["phone"] != "" && l.Config.Phone == "verified" {
		return nil, reason.Field(profile.Phone, "phone_verified_only")
	}
	return &pb.UpdateSettingResp{}, l.store(in.GetCaller(), change)
}

// verifiedPhone stores the number that WeChat returns for the code. The caller is checked first: a
// code is valid once and must not be spent on an invalid session.
func (l *UpdateSettingLogic) verifiedPhone(in *pb.UpdateSettingReq) (*pb.UpdateSettingResp, error) {
	if in.GetValue() == "" {
		return nil, reason.Field(profile.PhoneCode, "required")
	}
	if _, err := l.caller(in.GetCaller()); err != nil {
		return nil, err
	}
	number, err := l.Wechat.PhoneNumber(l.ctx, in.GetValue())
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
	return &pb.UpdateSettingResp{}, l.store(in.GetCaller(), change)
}
