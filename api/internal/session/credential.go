package session

import (
	"net/http"
	"regexp"
	"strings"
)

// CookieName is the name of the session cookie.
const CookieName = "session_token"

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
	if len(r.Header["Cookie"]) == 0 {
		return ""
	}
	c, err := r.Cookie(CookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

var weixinReferer = regexp.MustCompile(`^https://servicewechat\.com/([0-9A-Za-z]{1,32})/`)

// ClientAppID returns the AppID of the mini program that sent r, as its Referer says
// (https://servicewechat.com/<appid>/<version>/page-frame.html), or "". It proves nothing.
func ClientAppID(r *http.Request) string {
	if m := weixinReferer.FindStringSubmatch(r.Referer()); m != nil {
		return m[1]
	}
	return ""
}
