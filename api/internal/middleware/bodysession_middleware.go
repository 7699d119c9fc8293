package middleware

import (
	"net/http"

	"shares/api/internal/answer"
	"shares/api/internal/decode"
	"shares/api/internal/session"
)

// BodySessionMiddleware makes the body's sessionID a credential, after header
// and cookie. It stands before Session.
type BodySessionMiddleware struct{}

// NewBodySessionMiddleware returns the middleware that `middleware:
// BodySession` in shares.api names.
func NewBodySessionMiddleware() *BodySessionMiddleware { return &BodySessionMiddleware{} }

// Handle reads the body only where no other credential is present.
func (m *BodySessionMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if session.Credential(r) == "" {
			body, err := decode.Body(w, r)
			var credential struct {
				SessionID string `json:"sessionID,optional"`
			}
			if err == nil && len(body) > 0 {
				err = decode.Object(body, &credential)
			}
			if err != nil {
				answer.Error(w, r, err)
				return
			}
			session.FromContext(r.Context()).FromBody = credential.SessionID
		}
		next(w, r)
	}
}
