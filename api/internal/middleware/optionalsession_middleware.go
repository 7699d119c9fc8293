package middleware

import (
	"net/http"
	"strconv"

	"shares/api/internal/answer"
	"shares/internal/reason"
)

// OptionalSessionMiddleware reads a session where there is one; without, or
// with an invalid one, the request passes as nobody's.
type OptionalSessionMiddleware struct {
	credentials *Credentials
	users       UserLimit
}

// NewOptionalSessionMiddleware returns the middleware that `middleware:
// OptionalSession` in shares.api names.
func NewOptionalSessionMiddleware(credentials *Credentials, users UserLimit) *OptionalSessionMiddleware {
	return &OptionalSessionMiddleware{credentials: credentials, users: users}
}

// Handle refuses only a cookie sent from another site, and a user above the
// rate limit.
func (m *OptionalSessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call, err := m.credentials.read(r)
		if err == nil && call.Valid && !m.users.Allow(call.Session.UserID) {
			err = reason.Error(reason.RateLimited, "retry_after", strconv.Itoa(1))
		}
		if err != nil {
			answer.Error(w, r, err)
			return
		}
		next(w, r)
	}
}
