package middleware

import (
	"net/http"
	"strconv"

	"shares/api/internal/answer"
	"shares/internal/reason"
)

// SessionMiddleware lets a request pass only with a valid session, within the
// user's rate limit.
type SessionMiddleware struct {
	credentials *Credentials
	users       UserLimit
}

// UserLimit says whether a user may make one more request now.
type UserLimit interface {
	Allow(userID int64) bool
}

// NewSessionMiddleware returns the middleware that `middleware: Session` in
// shares.api names.
func NewSessionMiddleware(credentials *Credentials, users UserLimit) *SessionMiddleware {
	return &SessionMiddleware{credentials: credentials, users: users}
}

// Handle refuses with 401/1018 without a valid session and with 429/1094 above
// the limit.
func (m *SessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call, err := m.credentials.read(r)
		if err == nil && !call.Valid {
			err = reason.Error(reason.SessionInvalid)
		}
		if err == nil && !m.users.Allow(call.Session.UserID) {
			err = reason.Error(reason.RateLimited, "retry_after", strconv.Itoa(1))
		}
		if err != nil {
			answer.Error(w, r, err)
			return
		}
		next(w, r)
	}
}
