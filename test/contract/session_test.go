package contract_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/api/sessiontest"
)

func testLogin(t *testing.T, s *setting) {
	t.Run("first time", func(t *testing.T) {
		before := time.Now().Unix()
		var u user
		r := s.post(t, oauth, loginBody(s.code(t, t.Name())))
		r.ok(t, &u.loginAnswer)
		u.s = s
		u.lives(t, before)
		s.setsCookie(t, r, u.SessionID)
		u.has(t)
		golden(t, s, oauth, loginBody("<code>"), r, u.SessionID, "<sessionId>", u.OpenID, "<openId>", fmt.Sprint(u.OverdueTime), "1700000000")
	})

	t.Run("again", func(t *testing.T) {
		first, other := s.newUser(t), s.login(t, t.Name()+" other")
		first.post(t, updateUserInfo, `{"nickName":"爱丽丝"}`).ok(t)
		for _, body := range []string{`{"jscode":%s}`, `{"jscode":%s,"isUpdateUser":true}`, `{"jscode":%s,"isUpdateUser":null}`} {
			again := user{s: s}
			s.post(t, oauth, fmt.Sprintf(body, quote(s.code(t, first.name)))).ok(t, &again.loginAnswer)
			s.hide(again.SessionID)
			if again.OpenID != first.OpenID || again.OpenID == other.OpenID || again.SessionID == other.SessionID {
				t.Errorf("got openid %q, want %q, and another for another user", again.OpenID, first.OpenID)
			}
			for _, u := range []user{first, again} { // both sessions are valid
				u.has(t, func(p *profile) { p.NickName = "爱丽丝" })
			}
		}
	})

	t.Run("codes of WeChat DevTools", func(t *testing.T) {
		code := strings.Repeat("0a1B", 8)
		s.hide(code)
		openids := map[string]bool{}
		for _, code := range []string{code, "the code is a mock one"} {
			r := s.post(t, oauth, loginBody(code))
			if !s.embedded() { // only the embedded simulator accepts them
				r.refused(t, http.StatusUnauthorized, 1008)
				continue
			}
			var a loginAnswer
			r.ok(t, &a)
			s.hide(a.SessionID, a.OpenID)
			openids[a.OpenID] = true
		}
		if s.embedded() && len(openids) != 1 {
			t.Errorf("%d users, want the same one for all codes", len(openids))
		}
	})
}

// lives fails the test unless the session was handed out after before and has its full lifetime.
func (u user) lives(t *testing.T, before int64) {
	t.Helper()
	u.s.hide(u.SessionID, u.OpenID)
	after := time.Now().Unix()
	if u.SessionID == "" || u.OpenID == "" || u.OverdueTime < before+lifetime || u.OverdueTime > after+lifetime {
		t.Errorf("sessionId %q, openId %q, overdueTime %d, want %d to %d", u.SessionID, u.OpenID, u.OverdueTime, before+lifetime, after+lifetime)
	}
}

// setsCookie fails the test unless the answer sets the session cookie as documented. If session is
// "", it must clear it.
func (s *setting) setsCookie(t *testing.T, r reply, session string) {
	t.Helper()
	c := r.sessionCookie()
	if c == nil {
		t.Fatalf("no cookie in %q", r.Header["Set-Cookie"])
	}
	if session != "" && (c.MaxAge < lifetime-60 || c.MaxAge > lifetime) || session == "" && c.MaxAge != -1 {
		t.Errorf("Max-Age %d, want %d, or -1 to clear it", c.MaxAge, lifetime)
	}
	want := &http.Cookie{
		Name: "session_token", Value: session, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(s.public, "https://"),
		MaxAge: c.MaxAge, Raw: c.Raw,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("cookie (-want +got):\n%s", diff)
	}
}

func testReLogin(t *testing.T, s *setting) {
	for name, carry := range map[string]func(string) option{"header": bearer, "cookie": cookie} {
		t.Run("valid in the "+name, func(t *testing.T) {
			u := s.newUser(t)
			before := time.Now().Unix()
			var a reLoginAnswer
			r := s.do(t, http.MethodPost, prefix+reLogin, nil, carry(u.SessionID)) // an empty body is accepted
			r.ok(t, &a)
			renewed := user{s: s, loginAnswer: a.loginAnswer}
			renewed.lives(t, before)
			if a.Relogin || a.OpenID != u.OpenID {
				t.Errorf("relogin %t, openId %q, want false, %q", a.Relogin, a.OpenID, u.OpenID)
			}
			s.setsCookie(t, r, a.SessionID)
			renewed.has(t)
			u.has(t) // the old session is valid, too
			golden(t, s, reLogin, `{}`, r, a.SessionID, "<sessionId>", a.OpenID, "<openId>", fmt.Sprint(a.OverdueTime), "1700000000")
		})
	}

	u := s.newUser(t)
	invalid := u.invalidSessions(t)
	invalid["nonsense cookie"] = []option{cookie("nonsense")}
	for name, options := range invalid {
		t.Run(name, func(t *testing.T) {
			var a reLoginAnswer
			r := s.post(t, reLogin, `{}`, options...)
			r.ok(t, &a)
			if diff := cmp.Diff(reLoginAnswer{Relogin: true}, a, cmp.AllowUnexported(reLoginAnswer{})); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if strings.Contains(name, "cookie") { // only a cookie that was sent is cleared
				s.setsCookie(t, r, "")
			} else if c := r.sessionCookie(); c != nil {
				t.Errorf("cookie that was not sent: got %v, want none", c)
			}
			golden(t, s, reLogin+".again", `{}`, r)
		})
	}
	// made returns valid sessions, so the cases above were refused for the reasons that they test.
	s.post(t, getUserInfo, `{}`, bearer(u.made(t, s.secret, 0, time.Hour))).ok(t)
}

// invalidSessions returns the credentials of requests that have no valid session of the user.
func (u user) invalidSessions(t *testing.T) map[string][]option {
	expired := u.made(t, u.s.secret, 0, -time.Minute)
	return map[string][]option{
		"none":                        nil,
		"nonsense":                    {bearer("nonsense")},
		"openid":                      {bearer(u.OpenID)},
		"openid as user_token":        {header("Cookie", "user_token="+u.OpenID)},
		"forged":                      {bearer(flip(u.SessionID))},
		"expired":                     {bearer(expired)},
		"expired cookie":              {cookie(expired)},
		"revoked":                     {bearer(u.made(t, u.s.secret, 1, time.Hour))},
		"an unknown secret":           {bearer(u.made(t, "another-secret", 0, time.Hour))},
		"invalid before valid cookie": {bearer("nonsense"), cookie(u.SessionID)},
		"without Bearer":              {header("Authorization", u.SessionID)},
	}
}

// made returns a sessionId of the user signed by the test. Its epoch is later than the user's by
// that number.
func (u user) made(t *testing.T, secret string, later uint64, lifetime time.Duration) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(u.SessionID)
	if err != nil || len(raw) < 21 || raw[0] != 1 {
		t.Fatalf("not a sessionId of version 1: %q", u.SessionID)
	}
	id, epoch := int64(binary.BigEndian.Uint64(raw[5:])), binary.BigEndian.Uint64(raw[13:])
	sessionID := sessiontest.Issuer(secret, lifetime)(id, epoch+later)
	u.s.hide(sessionID)
	return sessionID
}

// flip changes one character in the middle.
func flip(sessionID string) string {
	b := []byte(sessionID)
	if b[len(b)/2] == 'A' {
		b[len(b)/2] = 'B'
	} else {
		b[len(b)/2] = 'A'
	}
	return string(b)
}

// update_user_info accepts a session in its body, after the header and the cookie. The nicknames show
// which user was changed.
func testCredentials(t *testing.T, s *setting) {
	alice, bob := s.login(t, t.Name()+" alice"), s.login(t, t.Name()+" bob")
	expired := alice.made(t, s.secret, 0, -time.Minute)
	names := map[string]string{alice.OpenID: "", bob.OpenID: ""}
	for name, tt := range map[string]struct {
		options []option
		inBody  string // sessionID; "": without the field
		want    *user  // nil: refused
	}{
		"header":                          {[]option{bearer(alice.SessionID)}, "", &alice},
		"header, scheme in small letters": {[]option{header("Authorization", "bearer "+alice.SessionID)}, "", &alice},
		"cookie":                          {[]option{cookie(alice.SessionID)}, "", &alice},
		"header before cookie":            {[]option{bearer(alice.SessionID), cookie(bob.SessionID)}, "", &alice},
		"header invalid, cookie valid":    {[]option{bearer("nonsense"), cookie(bob.SessionID)}, "", nil},
		"none":                            {nil, "", nil},
		"body":                            {nil, alice.SessionID, &alice},
		"cookie before body":              {[]option{cookie(bob.SessionID)}, alice.SessionID, &bob},
		"header invalid, body valid":      {[]option{bearer("nonsense")}, alice.SessionID, nil},
		"cookie invalid, body valid":      {[]option{cookie("nonsense")}, alice.SessionID, nil},
		"body expired":                    {nil, expired, nil},
		"openid in the body":              {nil, alice.OpenID, nil},
	} {
		t.Run(name, func(t *testing.T) {
			body, field := `{"nickName":`+quote(name), ""
			if tt.inBody != "" {
				field = `"sessionID":` + quote(tt.inBody)
				body += "," + field
			}
			update := s.post(t, updateUserInfo, body+"}", tt.options...)
			get := s.post(t, getUserInfo, "{"+field+"}", tt.options...)
			if tt.want != nil {
				update.ok(t)
				names[tt.want.OpenID] = name
			} else {
				update.refused(t, http.StatusUnauthorized, 1018)
			}
			if tt.want != nil && tt.options != nil { // get_user_info accepts no session in its body
				var p profile
				if get.ok(t, &p); p.OpenID != tt.want.OpenID {
					t.Errorf("openid: got %q, want %q", p.OpenID, tt.want.OpenID)
				}
			} else {
				get.refused(t, http.StatusUnauthorized, 1018)
			}
			after := map[string]string{alice.OpenID: alice.profile(t).NickName, bob.OpenID: bob.profile(t).NickName}
			if diff := cmp.Diff(names, after); diff != "" {
				t.Errorf("nicknames (-want +got):\n%s", diff)
			}
		})
	}
}

// testExistingClients acts like clients of the legacy service: they keep their session only in a
// cookie, and send undocumented fields.
func testExistingClients(t *testing.T, s *setting) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	site, err := url.Parse(s.address() + prefix) // not base, because a jar sends Secure cookies only over https
	if err != nil {
		t.Fatal(err)
	}
	call := func(endpoint, body string) reply {
		t.Helper()
		r := s.post(t, endpoint, body, func(req *http.Request) {
			req.AddCookie(&http.Cookie{Name: "user_token", Value: "an-openid"})
			for _, c := range jar.Cookies(site) {
				req.AddCookie(c)
				s.hide(c.Value)
			}
		})
		jar.SetCookies(site, r.Cookies())
		return r
	}
	const extra = `"isDebug":true,"hexinv":"8.5"`

	call(getUserInfo, `{`+extra+`}`).refused(t, http.StatusUnauthorized, 1018)
	var first reLoginAnswer
	call(reLogin, `{`+extra+`}`).ok(t, &first)
	if !first.Relogin {
		t.Error("relogin false before the first login")
	}
	call(oauth, `{"jscode":`+quote(s.code(t, t.Name()))+`,"isUpdateUser":true,`+extra+`}`).ok(t)
	call(updateUserInfo, `{"sessionID":"","nickName":"a","avatarURL":"","gender":"1","city":"","province":"","country":"","language":"zh_CN",`+extra+`}`).ok(t)
	call(upsetUserInfo, `{"key":"only20","value":"true",`+extra+`}`).ok(t)
	call(getQrcode, `{"page":"pages/a","scene":"existing",`+extra+`}`).ok(t)
	var renewed reLoginAnswer
	call(reLogin, `{`+extra+`}`).ok(t, &renewed)
	if renewed.Relogin {
		t.Error("relogin true with a cookie")
	}
	var p profile
	call(getUserInfo, `{`+extra+`}`).ok(t, &p)
	want := profile{OpenID: renewed.OpenID, NickName: "a", Gender: "1", Only20: true, Rg: true, Capacity: 5}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("get_user_info (-want +got):\n%s", diff)
	}

	// An invalid cookie is cleared.
	jar.SetCookies(site, []*http.Cookie{{Name: "session_token", Value: "nonsense", Path: "/"}})
	call(reLogin, `{}`).ok(t, &first)
	if cookies := jar.Cookies(site); !first.Relogin || len(cookies) != 0 {
		t.Errorf("relogin %t, %d cookies left", first.Relogin, len(cookies))
	}
}
