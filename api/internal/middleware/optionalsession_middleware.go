package middleware

import "net/http"

// OptionalSessionMiddleware reads the session, if any. A request without a valid session continues
// without a user.
type OptionalSessionMiddleware struct{ *Credentials }

// NewOptionalSessionMiddleware returns the middleware for `middleware: OptionalSession` in
// shares.api.
func NewOptionalSessionMiddleware(c *Credentials) *OptionalSessionMiddleware {
	return &OptionalSessionMiddleware{c}
}

// Handle returns next for requests with or without a session.
func (m *OptionalSessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return m.before(next, false)
}
