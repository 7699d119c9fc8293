package contract_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
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
		code := s.code(t, t.Name())
		var u user
		r := s.post(t, oauth, loginBody(code))
		r.ok(t, &u.loginAnswer)
		after := time.Now().Unix()
		u.s = s
		s.hide(u.SessionID, u.OpenID)
		if u.SessionID == "" || u.OpenID == "" {
			t.Errorf("sessionId %q, openId %q", u.SessionID, u.OpenID)
		}
		if u.OverdueTime < before+lifetime || u.OverdueTime > after+lifetime {
			t.Errorf("overdueTime %d, want %d to %d", u.OverdueTime, before+lifetime, after+lifetime)
		}
		s.setsCookie(t, r, u.SessionID, lifetime)
		u.has(t, fresh())
		golden(t, s, oauth, loginBody("<code>"), r, u.SessionID, "<sessionId>", u.OpenID, "<openId>", fmt.Sprint(u.OverdueTime), "1700000000")
	})

	t.Run("the same user has the same openid", func(t *testing.T) {
		first, second, other := s.newUser(t), s.newUser(t), s.login(t, t.Name()+" other")
		if first.OpenID != second.OpenID {
			t.Errorf("got openids %q and %q, want the same", first.OpenID, second.OpenID)
		}
		if first.OpenID == other.OpenID || first.SessionID == other.SessionID {
			t.Error("two users have the same openid or sessionId")
		}
		// Both sessions are valid.
		first.has(t, fresh())
		second.has(t, fresh())
	})

	t.Run("a known user keeps the stored profile", func(t *testing.T) {
		u := s.newUser(t)
		u.post(t, updateUserInfo, `{"nickName":"爱丽丝"}`).ok(t)
		u.post(t, upsetUserInfo, `{"key":"rg","value":"false"}`).ok(t)
		want := fresh()
		want.NickName, want.Rg = "爱丽丝", false
		for _, body := range []string{`{"jscode":%s}`, `{"jscode":%s,"isUpdateUser":true}`, `{"jscode":%s,"isUpdateUser":null}`} {
			s.post(t, oauth, fmt.Sprintf(body, quote(s.code(t, u.name)))).ok(t)
			u.has(t, want)
		}
	})

	t.Run("codes of WeChat DevTools", func(t *testing.T) {
		first, other := strings.Repeat("0a1B", 8), strings.Repeat("2c3D", 8)
		const mock = "the code is a mock one"
		s.hide(first, other)
		if !s.embedded() { // only the embedded simulator accepts them
			for _, code := range []string{first, mock} {
				s.post(t, oauth, loginBody(code)).refused(t, http.StatusUnauthorized, 1008)
			}
			return
		}
		openids := map[string]bool{}
		for _, code := range []string{first, mock, other, mock} {
			var a loginAnswer
			s.post(t, oauth, loginBody(code)).ok(t, &a)
			s.hide(a.SessionID, a.OpenID)
			openids[a.OpenID] = true
		}
		if len(openids) != 1 {
			t.Errorf("%d users, want the same one for all codes", len(openids))
		}
		for _, code := range []string{first, first[1:], first + "a", "a mock one"} { // used, or with another form
			s.post(t, oauth, loginBody(code)).refused(t, http.StatusUnauthorized, 1008)
		}
	})
}

// setsCookie fails the test unless the answer sets the session cookie as documented. If session is
// "", it must clear it.
func (s *setting) setsCookie(t *testing.T, r reply, session string, maxAge int) {
	t.Helper()
	c := r.sessionCookie()
	if c == nil {
		t.Fatalf("no cookie in %q", r.Header["Set-Cookie"])
	}
	if session != "" && (c.MaxAge < maxAge-60 || c.MaxAge > maxAge) || session == "" && c.MaxAge != -1 {
		t.Errorf("Max-Age %d, want %d", c.MaxAge, maxAge)
	}
	want := &http.Cookie{
		Name: "session_token", Value: session, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.https(),
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
			r := s.post(t, reLogin, `{}`, carry(u.SessionID))
			r.ok(t, &a)
			after := time.Now().Unix()
			s.hide(a.SessionID)
			if a.Relogin || a.OpenID != u.OpenID || a.SessionID == "" {
				t.Errorf("relogin %t, openId %q, sessionId %q", a.Relogin, a.OpenID, a.SessionID)
			}
			if a.OverdueTime < before+lifetime || a.OverdueTime > after+lifetime {
				t.Errorf("overdueTime %d, want %d to %d", a.OverdueTime, before+lifetime, after+lifetime)
			}
			s.setsCookie(t, r, a.SessionID, lifetime)
			// The new session and the old one are valid.
			renewed := u
			renewed.SessionID = a.SessionID
			renewed.has(t, fresh())
			u.has(t, fresh())
			golden(t, s, reLogin, `{}`, r, a.SessionID, "<sessionId>", a.OpenID, "<openId>", fmt.Sprint(a.OverdueTime), "1700000000")
		})
	}

	u := s.newUser(t)
	expired := u.made(t, s.secret, 0, -time.Minute)
	for name, tt := range map[string]struct {
		options []option
		clears  bool // the answer clears a cookie that was sent
	}{
		"none":                 {nil, false},
		"nonsense":             {[]option{bearer("nonsense")}, false},
		"nonsense cookie":      {[]option{cookie("nonsense")}, true},
		"openid":               {[]option{bearer(u.OpenID)}, false},
		"forged":               {[]option{bearer(flip(u.SessionID))}, false},
		"expired":              {[]option{bearer(expired)}, false},
		"expired cookie":       {[]option{cookie(expired)}, true},
		"revoked":              {[]option{bearer(u.made(t, s.secret, 1, time.Hour))}, false},
		"an unknown secret":    {[]option{bearer(u.made(t, "another-secret", 0, time.Hour))}, false},
		"invalid before valid": {[]option{bearer("nonsense"), cookie(u.SessionID)}, true},
		"user_token":           {[]option{header("Cookie", "user_token="+u.OpenID)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var a reLoginAnswer
			r := s.post(t, reLogin, `{}`, tt.options...)
			r.ok(t, &a)
			if diff := cmp.Diff(reLoginAnswer{Relogin: true}, a, cmp.AllowUnexported(reLoginAnswer{})); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if tt.clears {
				s.setsCookie(t, r, "", -1)
			} else if c := r.sessionCookie(); c != nil {
				t.Errorf("cookie that was not sent: got %v, want none", c)
			}
			golden(t, s, reLogin+".again", `{}`, r)
		})
	}
	// made returns valid sessions, so the cases above were refused for the reasons that they test.
	s.post(t, getUserInfo, `{}`, bearer(u.made(t, s.secret, 0, time.Hour))).ok(t)
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

func testCredentials(t *testing.T, s *setting) {
	alice, bob := s.login(t, t.Name()+" alice"), s.login(t, t.Name()+" bob")
	expired := alice.made(t, s.secret, 0, -time.Minute)

	// want is the user whose profile get_user_info returns; nil: refused.
	for name, tt := range map[string]struct {
		options []option
		want    *user
	}{
		"header":                          {[]option{bearer(alice.SessionID)}, &alice},
		"header, scheme in small letters": {[]option{header("Authorization", "bearer "+alice.SessionID)}, &alice},
		"cookie":                          {[]option{cookie(alice.SessionID)}, &alice},
		"header before cookie":            {[]option{bearer(alice.SessionID), cookie(bob.SessionID)}, &alice},
		"header invalid, cookie valid":    {[]option{bearer("nonsense"), cookie(bob.SessionID)}, nil},
		"none":                            {nil, nil},
		"forged":                          {[]option{bearer(flip(alice.SessionID))}, nil},
		"expired":                         {[]option{bearer(expired)}, nil},
		"openid as user_token":            {[]option{header("Cookie", "user_token="+alice.OpenID)}, nil},
		"without Bearer":                  {[]option{header("Authorization", alice.SessionID)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.post(t, getUserInfo, `{}`, tt.options...)
			if tt.want == nil {
				r.refused(t, http.StatusUnauthorized, 1018)
				return
			}
			var p profile
			r.ok(t, &p)
			if p.OpenID != tt.want.OpenID {
				t.Errorf("openid: got %q, want %q", p.OpenID, tt.want.OpenID)
			}
		})
	}
}

// update_user_info also accepts a session in its body. The nicknames show which user was changed.
func testBodyCredentials(t *testing.T, s *setting) {
	alice, bob := s.login(t, t.Name()+" alice"), s.login(t, t.Name()+" bob")
	expired := alice.made(t, s.secret, 0, -time.Minute)
	body := func(sessionID, nickName string) string {
		return `{"sessionID":` + quote(sessionID) + `,"nickName":` + quote(nickName) + `}`
	}
	for name, tt := range map[string]struct {
		body    string
		options []option
		want    *user
	}{
		"body":                       {body(alice.SessionID, "1"), nil, &alice},
		"cookie before body":         {body(alice.SessionID, "3"), []option{cookie(bob.SessionID)}, &bob},
		"header invalid, body valid": {body(alice.SessionID, "8"), []option{bearer("nonsense")}, nil},
		"cookie invalid, body valid": {body(alice.SessionID, "9"), []option{cookie("nonsense")}, nil},
		"body expired":               {body(expired, "11"), nil, nil},
		"openid in the body":         {body(alice.OpenID, "12"), nil, nil},
		"another name in the body":   {`{"session_id":` + quote(alice.SessionID) + `,"nickName":"13"}`, nil, nil},
		"nowhere":                    {`{"nickName":"14"}`, nil, nil},
	} {
		t.Run("update_user_info, "+name, func(t *testing.T) {
			before := map[string]string{alice.OpenID: alice.profile(t).NickName, bob.OpenID: bob.profile(t).NickName}
			r := s.post(t, updateUserInfo, tt.body, tt.options...)
			if tt.want == nil {
				r.refused(t, http.StatusUnauthorized, 1018)
			} else {
				r.ok(t, &struct{}{})
				var sent struct{ NickName string }
				if err := json.Unmarshal([]byte(tt.body), &sent); err != nil {
					t.Fatal(err)
				}
				before[tt.want.OpenID] = sent.NickName
			}
			after := map[string]string{alice.OpenID: alice.profile(t).NickName, bob.OpenID: bob.profile(t).NickName}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("nicknames (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("only update_user_info accepts a session in the body", func(t *testing.T) {
		for endpoint, body := range map[string]string{
			getUserInfo:   `{"sessionID":%s}`,
			upsetUserInfo: `{"sessionID":%s,"key":"rg","value":"true"}`,
			getQrcode:     `{"sessionID":%s,"scene":"a"}`,
		} {
			s.post(t, endpoint, fmt.Sprintf(body, quote(alice.SessionID))).refused(t, http.StatusUnauthorized, 1018)
		}
	})
}

// testExistingClients acts like clients of the legacy service: they keep their session only in a
// cookie, and send undocumented fields.
func testExistingClients(t *testing.T, s *setting) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	address := s.public // the client's URL, because a jar sends Secure cookies only over https
	if address == "" {
		address = s.base
	}
	site, err := url.Parse(address + prefix)
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
	want := fresh()
	want.OpenID, want.NickName, want.Gender, want.Only20 = renewed.OpenID, "a", "1", true
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
