// Package middleware implements the middlewares that shares.api names in `@server (middleware: …)`:
// sessions, rate limits and uploads.
package middleware

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/reason"
)

// Credentials identifies the caller of a request. The first credential of header, cookie and (after
// BodySession) body counts. If it is invalid, the next one is not tried, so that a request never
// runs as an unexpected user.
type Credentials struct {
	Tokens  *session.Tokens
	Users   interface{ Allow(userID int64) bool } // limits requests per user; nil: no limit
	Refused prometheus.Counter                    // counts requests above the limit
}

// before returns a handler that checks the session, then calls next. It refuses a user above the
// rate limit with 429/1094 and, if required is set, a request without a valid session with
// 401/1018.
func (c *Credentials) before(next http.HandlerFunc, required bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call := session.FromContext(r.Context())
		token := session.Credential(r)
		if token == "" {
			token = call.FromBody
		}
		s, err := c.Tokens.Verify(token)
		call.Session = s
		switch {
		case err == nil && c.Users != nil && !c.Users.Allow(s.UserID):
			c.Refused.Inc()
			answer.Error(w, r, reason.Error(reason.RateLimited, "retry_after", "1"))
		case err == nil || !required:
			next(w, r)
		case token == "" && r.Header.Get("Authorization") != "":
			answer.Error(w, r, reason.Error(reason.BearerMissing))
		default:
			answer.Error(w, r, reason.Error(reason.SessionInvalid))
		}
	}
}
