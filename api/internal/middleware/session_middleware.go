package middleware

import (
	"net/http"

	"shares/api/internal/answer"
)

// SessionMiddleware requires a valid session within the user's rate limit.
type SessionMiddleware struct{ credentials *Credentials }

// NewSessionMiddleware returns the middleware that `middleware: Session` in
// shares.api names.
func NewSessionMiddleware(credentials *Credentials) *SessionMiddleware {
	return &SessionMiddleware{credentials}
}

// Handle refuses with 401/1018 without a valid session and with 429/1094 above
// the limit.
func (m *SessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := m.credentials.check(r, true); err != nil {
			answer.Error(w, r, err)
			return
		}
		next(w, r)
	}
}
