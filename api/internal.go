package api

import (
	"context"
	"net/http"

	"shares/api/internal/edge"
	"shares/api/internal/pictures"
	"shares/internal/config"
)

// Internal returns the handler of the internal port for a process without the edge. It uses only
// Services, Log and Metrics of p.
func Internal(c config.Config, p Deps) (http.Handler, error) {
	e, err := edge.New(edge.Options{Config: c, Log: p.Log, Metrics: p.Metrics}, nil)
	if err != nil {
		return nil, err
	}
	return e.Internal(http.HandlerFunc(edge.NotFound), p.Services), nil
}

// Services is /wechat/ and /users of the internal port.
type Services = edge.Services

// Avatars returns a function that returns the address of a stored avatar.
func Avatars(c config.Config) func(ctx context.Context, stored string) string {
	return pictures.Addresses{Public: c.QRCodePublicURL, Base: c.PublicURL}.Shown
}
