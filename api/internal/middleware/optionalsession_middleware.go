package middleware

import (
	"net/http"

	"shares/api/internal/answer"
)

// OptionalSessionMiddleware reads a session where there is one. A request
// without a valid one passes without a user.
type OptionalSessionMiddleware struct{ credentials *Credentials }

// NewOptionalSessionMiddleware returns the middleware that `middleware:
// OptionalSession` in shares.api names.
func NewOptionalSessionMiddleware(credentials *Credentials) *OptionalSessionMiddleware {
	return &OptionalSessionMiddleware{credentials}
}

// Handle refuses only a user above the rate limit, with 429/1094.
func (m *OptionalSessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := m.credentials.check(r, false); err != nil {
			answer.Error(w, r, err)
			return
		}
		next(w, r)
	}
}
