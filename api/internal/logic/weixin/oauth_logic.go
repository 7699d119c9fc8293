package weixin

import (
	"context"
	"strconv"

	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/internal/reason"
	"shares/rpc/pb"
)

// OauthLogic implements weixin.oauth.
type OauthLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewOauthLogic returns the logic of one request.
func NewOauthLogic(ctx context.Context, svcCtx *svc.ServiceContext) *OauthLogic {
	return &OauthLogic{ctx: ctx, svcCtx: svcCtx}
}

// maxCode bounds a login code, in bytes. WeChat's codes have 32; its front end refuses URLs with
// long ones, which would count as a failure of WeChat.
const maxCode = 128

func checkCode(jscode string) error {
	switch {
	case jscode == "":
		return reason.Field("jscode", "required")
	case len(jscode) > maxCode:
		return reason.Field("jscode", "too_long", "max", strconv.Itoa(maxCode))
	}
	return nil
}

// Oauth exchanges the login code for a session.
func (l *OauthLogic) Oauth(req *types.OauthReq) (*types.OauthResp, error) {
	if err := checkCode(req.Jscode); err != nil {
		return nil, err
	}
	user, err := l.svcCtx.Users.Login(l.ctx, &pb.LoginReq{
		Code: req.Jscode, Refresh: req.IsUpdateUser, ClientAppid: session.FromContext(l.ctx).ClientAppID,
	})
	if err != nil {
		return nil, err
	}
	id, s := l.svcCtx.Sessions.Issue(user.GetCaller().GetUserId(), user.GetCaller().GetEpoch())
	session.HandOut(l.ctx, id, s)
	return &types.OauthResp{SessionId: id, OpenId: user.GetOpenid(), OverdueTime: s.Expires.Unix()}, nil
}
