package rpc

import (
	"context"

	"shares/rpc/internal/qrcode"
	"shares/rpc/internal/wechat"
)

// maker lets qrcode make codes at WeChat without knowing of it.
type maker struct{ client *wechat.Client }

// UnlimitedCode implements qrcode.Maker.
func (m maker) UnlimitedCode(ctx context.Context, p qrcode.Params) ([]byte, string, error) {
	image, err := m.client.UnlimitedCode(ctx, wechat.CodeParams{
		Page:       p.Page,
		Scene:      p.Scene,
		EnvVersion: p.EnvVersion,
		Width:      p.Width,
		CheckPath:  p.CheckPath,
		IsHyaline:  p.IsHyaline,
		AutoColor:  p.AutoColor,
		LineColor:  wechat.Color(p.LineColor),
	})
	return image.Data, image.ContentType, err
}

// blameless tells WeChat's faults from the user's: only a parameter that
// WeChat refuses is the user's doing.
func blameless(err error) bool { return wechat.KindOf(err) != wechat.InvalidArgument }
