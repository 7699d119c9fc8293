package rpc

import (
	"context"
	"errors"
	"net/http"

	"shares/model"
	"shares/rpc/internal/services"
)

// Services returns /wechat/ and /users of the internal port: a function that answers a request or
// returns the error to answer. avatar returns the address of a stored avatar.
func (s *Service) Services(
	avatar func(ctx context.Context, stored string) string,
) func(http.ResponseWriter, *http.Request) error {
	return services.New(services.Options{
		Config: s.config,
		Wechat: s.wechat,
		FindMany: func(ctx context.Context, ids []int64) ([]*model.WxUserinfo, error) {
			rows, err := s.deps.Users.FindMany(ctx, ids)
			if err != nil {
				err = errors.Join(convert(err), err) // the reason, and the cause for the log
			}
			return rows, err
		},
		Avatar:  avatar,
		Memory:  s.deps.Memory / 8,
		Metrics: s.deps.Metrics,
	}).Serve
}
