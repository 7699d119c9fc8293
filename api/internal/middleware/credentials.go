// Package middleware implements what shares.api puts before an endpoint with
// `@server (middleware: …)`: sessions, rate limits and uploads.
package middleware

import (
	"net/http"

	"shares/api/internal/session"
	"shares/internal/reason"
)

// UserLimit says whether a user may make one more request now.
type UserLimit interface {
	Allow(userID int64) bool
}

// Credentials reads the caller of a request. The first present of header, cookie
// and (behind BodySession) body counts; an invalid one is not replaced by the
// next, so that a request never runs as an unexpected user.
type Credentials struct {
	tokens *session.Tokens
	users  UserLimit
}

// NewCredentials returns a reader of the sessionIds that tokens signed.
func NewCredentials(tokens *session.Tokens, users UserLimit) *Credentials {
	return &Credentials{tokens: tokens, users: users}
}

// check fills the request's Call. It returns an error for a user above the rate
// limit and, if a session is required, for a request without a valid one.
func (c *Credentials) check(r *http.Request, required bool) error {
	call := session.FromContext(r.Context())
	token := session.FromHeader(r)
	if token == "" {
		token = session.FromCookie(r)
	}
	if token == "" {
		token = call.FromBody
	}
	s, err := c.tokens.Verify(token)
	call.Session, call.Valid = s, err == nil
	switch {
	case call.Valid && !c.users.Allow(s.UserID):
		return reason.Error(reason.RateLimited, "retry_after", "1")
	case call.Valid || !required:
		return nil
	case token == "" && r.Header.Get("Authorization") != "":
		return reason.Error(reason.BearerMissing)
	}
	return reason.Error(reason.SessionInvalid)
}
