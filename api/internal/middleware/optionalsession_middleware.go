package middleware

import "net/http"

// OptionalSessionMiddleware reads a session where there is one. A request
// without a valid one passes without a user.
type OptionalSessionMiddleware struct{ *Credentials }

// NewOptionalSessionMiddleware returns the middleware that `middleware:
// OptionalSession` in shares.api names.
func NewOptionalSessionMiddleware(c *Credentials) *OptionalSessionMiddleware {
	return &OptionalSessionMiddleware{c}
}

// Handle returns next for requests with or without a session.
func (m *OptionalSessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return m.before(next, false)
}
