package middleware

import (
	"context"
	"net/http"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"

	"shares/api/internal/answer"
	"shares/api/internal/session"
)

// OauthLimitMiddleware limits logins per client address, before any call to WeChat or the database.
type OauthLimitMiddleware struct {
	Logins interface { // implemented by *quota.Limit
		Take(ctx context.Context, key string) (giveBack func(), err error)
	}
	Address func(*http.Request) string // returns the client's address
	Refused prometheus.Counter
}

var weixinReferer = regexp.MustCompile(`^https://servicewechat\.com/([0-9A-Za-z]{1,32})/`)

// Handle refuses requests above the limit with 429/1094 and Retry-After. It sets the Call's
// ClientAppID from the Referer (https://servicewechat.com/<appid>/<version>/page-frame.html), which
// can be forged.
func (m *OauthLimitMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := m.Logins.Take(r.Context(), m.Address(r))
		if err != nil {
			m.Refused.Inc()
			answer.Error(w, r, err)
			return
		}
		if found := weixinReferer.FindStringSubmatch(r.Referer()); found != nil {
			session.FromContext(r.Context()).ClientAppID = found[1]
		}
		next(w, r)
	}
}
