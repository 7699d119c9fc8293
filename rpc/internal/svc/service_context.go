// Package svc holds the dependencies of the rpc logic.
package svc

import (
	"context"
	"log/slog"
	"time"

	"shares/model"
	"shares/rpc/account"
	"shares/rpc/internal/avatar"
	"shares/rpc/internal/config"
)

// ServiceContext is created once per process. Each function is the method that its comment names.
type ServiceContext struct {
	Config config.Config
	Users  model.WxUserinfoModel
	Wechat Wechat
	// QRCode is (*qrcode.Service).Name.
	QRCode func(ctx context.Context, userID int64, page, scene string) (name string, err error)
	// MakeAvatar is (*avatar.Maker).Make.
	MakeAvatar func(ctx context.Context, file []byte) (avatar.Picture, error)
	// CountAvatar is (*quota.Limit).Take.
	CountAvatar func(ctx context.Context, user string) (giveBack func(), err error)
	// PutPicture is (*pictures.Store).Put.
	PutPicture func(ctx context.Context, name string, data []byte) error
	Accounts   *account.Cleaner
	Now        func() time.Time
	Log        *slog.Logger
}

// Wechat makes the calls to WeChat; *wechat.Client is one.
type Wechat interface {
	Code2Session(ctx context.Context, code, clientAppID string) (openid, unionid string, err error)
	PhoneNumber(ctx context.Context, code string) (string, error)
	IsRisky(ctx context.Context, openid, content string) (bool, error)
}
