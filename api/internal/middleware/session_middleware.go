package middleware

import "net/http"

// SessionMiddleware requires a valid session within the user's rate limit.
type SessionMiddleware struct{ *Credentials }

// NewSessionMiddleware returns the middleware for `middleware: Session` in shares.api.
func NewSessionMiddleware(c *Credentials) *SessionMiddleware { return &SessionMiddleware{c} }

// Handle returns next for requests with a session.
func (m *SessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return m.before(next, true)
}
