// Package svc is what handlers and logic work with.
package svc

import (
	"github.com/zeromicro/go-zero/rest"

	"shares/api/internal/pictures"
	"shares/api/internal/session"
	"shares/rpc/pb"
)

// ServiceContext is made once per process. The middlewares are those that
// shares.api names.
type ServiceContext struct {
	Users    pb.WeixinClient // in this process or behind zRPC
	Sessions *session.Tokens
	Pictures pictures.Addresses

	OauthLimit      rest.Middleware
	OptionalSession rest.Middleware
	BodySession     rest.Middleware
	Session         rest.Middleware
	Upload          rest.Middleware
}
