package middleware

import (
	"net/http"

	"shares/api/internal/answer"
	"shares/api/internal/decode"
	"shares/api/internal/session"
)

// BodySessionMiddleware accepts the body's sessionID as a credential if header and cookie have
// none. It must run before Session.
type BodySessionMiddleware struct{}

// NewBodySessionMiddleware returns the middleware for `middleware: BodySession` in shares.api.
func NewBodySessionMiddleware() *BodySessionMiddleware { return &BodySessionMiddleware{} }

// Handle reads the body only if the request has no other credential.
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
