// Package svc is what handlers and logic work with.
package svc

import (
	"github.com/zeromicro/go-zero/rest"

	"shares/api/internal/config"
	"shares/api/internal/middleware"
	"shares/api/internal/pictures"
	"shares/api/internal/session"
	"shares/rpc/pb"
)

// ServiceContext is made once per process. The middlewares are those that
// shares.api names.
type ServiceContext struct {
	Config   config.Config
	Users    pb.WeixinClient // in this process or behind zRPC
	Sessions *session.Tokens
	Pictures pictures.Addresses

	OauthLimit      rest.Middleware
	OptionalSession rest.Middleware
	BodySession     rest.Middleware
	Session         rest.Middleware
	Upload          rest.Middleware
}

// Deps are what NewServiceContext builds the middlewares from.
type Deps struct {
	Users    pb.WeixinClient
	Sessions *session.Tokens
	Pictures pictures.Addresses
	Logins   middleware.LoginLimit
	Callers  middleware.UserLimit
	Address  middleware.ClientAddress
}

// NewServiceContext returns the context of all handlers.
func NewServiceContext(c config.Config, p Deps) *ServiceContext {
	credentials := middleware.NewCredentials(p.Sessions, p.Callers)
	return &ServiceContext{
		Config:          c,
		Users:           p.Users,
		Sessions:        p.Sessions,
		Pictures:        p.Pictures,
		OauthLimit:      middleware.NewOauthLimitMiddleware(p.Logins, p.Address).Handle,
		OptionalSession: middleware.NewOptionalSessionMiddleware(credentials).Handle,
		BodySession:     middleware.NewBodySessionMiddleware().Handle,
		Session:         middleware.NewSessionMiddleware(credentials).Handle,
		Upload:          middleware.NewUploadMiddleware(c.Timeout, c.UploadTime()).Handle,
	}
}
