// Package svc holds the dependencies of handlers and logic.
package svc

import (
	"github.com/zeromicro/go-zero/rest"

	"shares/api/internal/pictures"
	"shares/api/internal/session"
	"shares/rpc/pb"
)

// ServiceContext is created once per process. shares.api names the middlewares.
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
