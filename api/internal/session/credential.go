package session

import (
	"net/http"
	"strings"
)

// CookieName is the name of the session cookie.
const CookieName = "session_token"

// Credential returns the sessionId of the Authorization header or else of the session cookie, or
// "".
func Credential(r *http.Request) string {
	if token := FromHeader(r); token != "" {
		return token
	}
	return FromCookie(r)
}

// FromHeader returns the sessionId of `Authorization: Bearer <sessionId>`, or "".
func FromHeader(r *http.Request) string {
	const scheme = "Bearer "
	h := r.Header.Get("Authorization")
	if len(h) > len(scheme) && strings.EqualFold(h[:len(scheme)], scheme) {
		return strings.TrimSpace(h[len(scheme):])
	}
	return ""
}

// FromCookie returns the sessionId of the session cookie, or "".
func FromCookie(r *http.Request) string {
	if c, err := r.Cookie(CookieName); err == nil {
		return c.Value
	}
	return ""
}
