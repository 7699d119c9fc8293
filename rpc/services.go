package rpc

import (
	"context"
	"net/http"

	"shares/rpc/internal/services"
	"shares/rpc/internal/wechat"
)

// Services returns the handler of /wechat/ and /users on the internal port. refuse writes an error,
// avatar returns the address of a stored avatar.
func (s *Service) Services(refuse func(w http.ResponseWriter, r *http.Request, err error),
	avatar func(ctx context.Context, stored string) string) (http.Handler, error) {
	callers, err := s.config.Callers()
	if err != nil {
		return nil, err
	}
	prefixes, err := s.config.WechatPrefixes()
	if err != nil {
		return nil, err
	}
	var paths []*wechat.Path
	for _, prefix := range prefixes {
		paths = append(paths, s.wechat.Path(prefix))
	}
	return services.New(services.Options{
		Callers: callers,
		Paths:   paths,
		Users:   s.deps.Users,
		Slots:   s.config.MaxInFlight / 4,
		Memory:  s.deps.Memory / 8,
		Timeout: s.config.RPCTimeout,
		Metrics: s.deps.Metrics,
		Convert: convert,
		Refuse:  refuse,
		Avatar:  avatar,
	}), nil
}
