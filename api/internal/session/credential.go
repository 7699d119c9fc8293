package session

import (
	"net/http"
	"strings"
)

// CookieName is the name of the session cookie.
const CookieName = "session_token"

// Credential returns the sessionId of the Authorization header or, where that
// has none, of the session cookie; empty when there is none.
func Credential(r *http.Request) string {
	if token := FromHeader(r); token != "" {
		return token
	}
	return FromCookie(r)
}

// FromHeader returns the sessionId of `Authorization: Bearer <sessionId>`,
// empty when there is none.
func FromHeader(r *http.Request) string {
	const scheme = "Bearer "
	h := r.Header.Get("Authorization")
	if len(h) > len(scheme) && strings.EqualFold(h[:len(scheme)], scheme) {
		return strings.TrimSpace(h[len(scheme):])
	}
	return ""
}

// FromCookie returns the sessionId of the session cookie, empty when there is
// none.
func FromCookie(r *http.Request) string {
	if c, err := r.Cookie(CookieName); err == nil {
		return c.Value
	}
	return ""
}
