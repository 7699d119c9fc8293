package middleware

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/reason"
)

// OauthLimitMiddleware limits logins per client address, before WeChat is
// asked and anything is written.
type OauthLimitMiddleware struct {
	logins  LoginLimit
	address ClientAddress
}

// ClientAddress tells a request's client address.
type ClientAddress func(*http.Request) string

// LoginLimit says whether one more login from an address may be tried now and,
// when not, after which time.
type LoginLimit interface {
	Allow(ctx context.Context, address string) (ok bool, retryAfter time.Duration)
}

// NewOauthLimitMiddleware returns the middleware that `middleware: OauthLimit`
// in shares.api names.
func NewOauthLimitMiddleware(logins LoginLimit, address ClientAddress) *OauthLimitMiddleware {
	return &OauthLimitMiddleware{logins: logins, address: address}
}

// Handle refuses with 429/1094 and Retry-After. It notes which mini program sends the login.
func (m *OauthLimitMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ok, after := m.logins.Allow(r.Context(), m.address(r))
		if !ok {
			seconds := max(1, int((after+time.Second-1)/time.Second))
			answer.Error(w, r, reason.Error(reason.RateLimited, "retry_after", strconv.Itoa(seconds)))
			return
		}
		if call := session.FromContext(r.Context()); call != nil {
			call.ClientAppID = session.ClientAppID(r)
		}
		next(w, r)
	}
}
