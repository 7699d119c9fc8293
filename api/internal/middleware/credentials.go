// Package middleware implements what shares.api puts before an endpoint with
// `@server (middleware: …)`: sessions, rate limits and uploads.
package middleware

import (
	"cmp"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/reason"
)

// Credentials reads the caller of a request. The first present of header, cookie
// and (behind BodySession) body counts; an invalid one is not replaced by the
// next, so that a request never runs as an unexpected user.
type Credentials struct {
	Tokens  *session.Tokens
	Users   interface{ Allow(userID int64) bool } // limits the requests of a user
	Refused prometheus.Counter                    // counts those above the limit
}

// before returns next behind a check of the request's session: it refuses a user above the rate
// limit with 429/1094 and, if a session is required, a request without a valid one with 401/1018.
func (c *Credentials) before(next http.HandlerFunc, required bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call := session.FromContext(r.Context())
		token := cmp.Or(session.Credential(r), call.FromBody)
		s, err := c.Tokens.Verify(token)
		call.Session = s
		switch {
		case err == nil && !c.Users.Allow(s.UserID):
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
