package weixin

import (
	"shares/api/internal/types"
	"shares/rpc/pb"
)

// userInfo returns the answer of get_user_info. Tests fail if a field is missing here or in
// profileChange.
func userInfo(user *pb.User, avatarURL string) *types.GetUserInfoResp {
	return &types.GetUserInfoResp{
		Openid:    user.GetOpenid(),
		NickName:  user.GetNickName(),
		AvatarURL: avatarURL,
		Gender:    user.GetGender(),
		City:      user.GetCity(),
		Province:  user.GetProvince(),
		Country:   user.GetCountry(),
		Phone:     user.GetPhone(),
		Group:     user.GetGroup(),
		Rg:        user.GetRg(),
		Only20:    user.GetOnly20(),
		Capacity:  user.GetCapacity(),
	}
}

// profileChange returns the change that update_user_info sends to the user service.
func profileChange(caller *pb.Caller, req *types.WxUserinfo) *pb.UpdateProfileReq {
	return &pb.UpdateProfileReq{
		Caller:    caller,
		NickName:  req.NickName,
		AvatarUrl: req.AvatarURL,
		Gender:    req.Gender,
		City:      req.City,
		Province:  req.Province,
		Country:   req.Country,
		Language:  req.Language,
	}
}
