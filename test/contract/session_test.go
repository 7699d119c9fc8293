package contract_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
			t.Errorf("openids %q and %q", first.OpenID, second.OpenID)
		}
		if first.OpenID == other.OpenID || first.SessionID == other.SessionID {
			t.Error("two users are one")
		}
		// Both sessions run to their own end.
		first.has(t, fresh())
		second.has(t, fresh())
	})

	t.Run("a known user keeps what is stored", func(t *testing.T) {
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

	t.Run("isUpdateUser takes over the unionid", func(t *testing.T) {
		u := s.newUser(t)
		s.hide("union-of-alice")
		for _, step := range []struct {
			isUpdateUser bool
			want         string
		}{{false, ""}, {true, "union-of-alice"}} {
			code := s.code(t, u.name, `"unionid":"union-of-alice"`)
			s.post(t, oauth, fmt.Sprintf(`{"jscode":%s,"isUpdateUser":%t}`, quote(code), step.isUpdateUser)).ok(t)
			if s.db == nil { // the embedded database is the program's own: nothing to look at
				continue
			}
			var unionid string
			if err := s.db.QueryRowContext(t.Context(), "SELECT unionid FROM wx_userinfo WHERE openid = ?", u.OpenID).Scan(&unionid); err != nil {
				t.Fatal(err)
			}
			if unionid != step.want {
				t.Errorf("isUpdateUser %t: unionid %q, want %q", step.isUpdateUser, unionid, step.want)
			}
		}
	})

	t.Run("codes of WeChat DevTools", func(t *testing.T) {
		first, other := strings.Repeat("0a1B", 8), strings.Repeat("2c3D", 8)
		const mock = "the code is a mock one"
		s.hide(first, other)
		if s.control != s.base { // only the embedded simulator takes them
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
			t.Errorf("%d users, want one that stays", len(openids))
		}
		for _, code := range []string{first, first[1:], first + "a", "a mock one"} { // used, or of another form
			s.post(t, oauth, loginBody(code)).refused(t, http.StatusUnauthorized, 1008)
		}
	})

	t.Run("many at once make one user", func(t *testing.T) {
		const n = 12
		name := t.Name()
		codes := make([]string, n)
		for i := range codes {
			codes[i] = s.code(t, name)
		}
		openids := make([]string, n)
		var done sync.WaitGroup
		for i, code := range codes {
			done.Go(func() {
				r, err := s.try(t, http.MethodPost, prefix+oauth, strings.NewReader(loginBody(code)))
				if err != nil {
					t.Error(err)
					return
				}
				data, err := r.data()
				var a loginAnswer
				if err == nil {
					err = strictly(data, &a)
				}
				if err != nil {
					t.Error(err)
				}
				openids[i] = a.OpenID
				s.hide(a.SessionID, a.OpenID)
			})
		}
		done.Wait()
		for _, openid := range openids {
			if openid != openids[0] {
				t.Errorf("openids %q and %q", openid, openids[0])
			}
		}
		if s.db != nil {
			var rows int
			if err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM wx_userinfo WHERE openid = ?", openids[0]).Scan(&rows); err != nil {
				t.Fatal(err)
			}
			if rows != 1 {
				t.Errorf("%d rows", rows)
			}
		}
	})
}

// setsCookie fails the test unless the answer sets the session cookie as documented.
func (s *setting) setsCookie(t *testing.T, r reply, session string, maxAge int) {
	t.Helper()
	c := r.sessionCookie()
	if c == nil {
		t.Fatalf("no cookie in %q", r.Header["Set-Cookie"])
	}
	if c.MaxAge < maxAge-60 || c.MaxAge > maxAge {
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

// clearsCookie fails the test unless the answer takes the session cookie away.
func (s *setting) clearsCookie(t *testing.T, r reply) {
	t.Helper()
	c := r.sessionCookie()
	if c == nil {
		t.Fatalf("no cookie in %q", r.Header["Set-Cookie"])
	}
	want := &http.Cookie{
		Name: "session_token", Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.https(),
		MaxAge: -1, Raw: c.Raw,
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
			// The new session works, and the old one runs to its own end.
			renewed := u
			renewed.SessionID = a.SessionID
			renewed.has(t, fresh())
			u.has(t, fresh())
			golden(t, s, reLogin, `{}`, r, a.SessionID, "<sessionId>", a.OpenID, "<openId>", fmt.Sprint(a.OverdueTime), "1700000000")
		})
	}

	u := s.newUser(t)
	known := s.parse(t, u.SessionID)
	otherEpoch, expired, tooOld, nobody, otherKey := known, known, known, known, known
	otherEpoch.epoch++
	expired.login -= 3 * 60 * 60
	expired.expires = time.Now().Unix() - 1
	tooOld.login -= 31 * 24 * 60 * 60
	nobody.user = 1 << 40
	otherKey.keyID++
	for name, tt := range map[string]struct {
		options []option
		clears  bool // only a cookie that was sent
	}{
		"none":                 {nil, false},
		"empty cookie":         {[]option{cookie("")}, false},
		"nonsense":             {[]option{bearer("nonsense")}, false},
		"nonsense cookie":      {[]option{cookie("nonsense")}, true},
		"openid":               {[]option{bearer(u.OpenID)}, false},
		"forged":               {[]option{bearer(flip(u.SessionID))}, false},
		"expired":              {[]option{bearer(s.sign(expired))}, false},
		"expired cookie":       {[]option{cookie(s.sign(expired))}, true},
		"absolute end":         {[]option{bearer(s.sign(tooOld))}, false},
		"revoked":              {[]option{bearer(s.sign(otherEpoch))}, false},
		"revoked cookie":       {[]option{cookie(s.sign(otherEpoch))}, true},
		"nobody's":             {[]option{bearer(s.sign(nobody))}, false},
		"a secret unknown":     {[]option{bearer(s.sign(otherKey))}, false},
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
				s.clearsCookie(t, r)
			} else if c := r.sessionCookie(); c != nil {
				t.Errorf("cookie that was not sent: got %v, want none", c)
			}
			golden(t, s, reLogin+".again", `{}`, r)
		})
	}
	t.Run("signed here as there", func(t *testing.T) {
		// Without this, a mistake in parse or sign would make the cases above hold for nothing.
		if got := s.sign(known); got != u.SessionID {
			t.Errorf("this suite signs %q, the program %q", got, u.SessionID)
		}
		later := known
		later.expires += 60
		s.post(t, getUserInfo, `{}`, bearer(s.sign(later))).ok(t)
	})
}

// session is what a sessionId holds.
type session struct {
	keyID          uint32
	user           int64
	epoch          uint64
	login, expires int64 // unix seconds
}

const signedSize = 1 + 4 + 8 + 8 + 5 + 5

// parse reads a sessionId. This suite knows its form because nothing else makes an expired one within seconds.
func (s *setting) parse(t *testing.T, sessionID string) session {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(sessionID)
	if err != nil || len(raw) != signedSize+sha256.Size || raw[0] != 1 {
		t.Fatalf("not a sessionId of version 1: %q", sessionID)
	}
	unix := func(b []byte) int64 { return int64(b[0])<<32 | int64(binary.BigEndian.Uint32(b[1:])) }
	return session{
		keyID:   binary.BigEndian.Uint32(raw[1:]),
		user:    int64(binary.BigEndian.Uint64(raw[5:])),
		epoch:   binary.BigEndian.Uint64(raw[13:]),
		login:   unix(raw[21:]),
		expires: unix(raw[26:]),
	}
}

// sign makes a sessionId that the program made, or could have made.
func (s *setting) sign(v session) string {
	raw := []byte{1}
	raw = binary.BigEndian.AppendUint32(raw, v.keyID)
	raw = binary.BigEndian.AppendUint64(raw, uint64(v.user))
	raw = binary.BigEndian.AppendUint64(raw, v.epoch)
	for _, unix := range []int64{v.login, v.expires} {
		raw = append(raw, byte(unix>>32))
		raw = binary.BigEndian.AppendUint32(raw, uint32(unix))
	}
	h := hmac.New(sha256.New, []byte(s.secret))
	h.Write(raw)
	sessionID := base64.RawURLEncoding.EncodeToString(h.Sum(raw))
	s.hide(sessionID)
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
	expired := s.parse(t, alice.SessionID)
	expired.expires = time.Now().Unix() - 1

	// Who get_user_info takes the caller for; nil is a refusal.
	for name, tt := range map[string]struct {
		options []option
		want    *user
	}{
		"header":                          {[]option{bearer(alice.SessionID)}, &alice},
		"header, scheme in small letters": {[]option{header("Authorization", "bearer "+alice.SessionID)}, &alice},
		"cookie":                          {[]option{cookie(alice.SessionID)}, &alice},
		"cookie among others":             {[]option{header("Cookie", "user_token=x; session_token="+alice.SessionID+"; a=b")}, &alice},
		"header before cookie":            {[]option{bearer(alice.SessionID), cookie(bob.SessionID)}, &alice},
		"header invalid, cookie valid":    {[]option{bearer("nonsense"), cookie(bob.SessionID)}, nil},
		"header expired, cookie valid":    {[]option{bearer(s.sign(expired)), cookie(bob.SessionID)}, nil},
		"none":                            {nil, nil},
		"forged":                          {[]option{bearer(flip(alice.SessionID))}, nil},
		"expired":                         {[]option{bearer(s.sign(expired))}, nil},
		"openid in the header":            {[]option{bearer(alice.OpenID)}, nil},
		"openid as session cookie":        {[]option{cookie(alice.OpenID)}, nil},
		"openid as user_token":            {[]option{header("Cookie", "user_token="+alice.OpenID)}, nil},
		"without the word Bearer":         {[]option{header("Authorization", alice.SessionID)}, nil},
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
				t.Errorf("called as %q, want %q", p.OpenID, tt.want.OpenID)
			}
		})
	}

	// update_user_info, which takes a session in its body too. The nickname tells who was written to.
	body := func(sessionID, nickName string) string {
		return `{"sessionID":` + quote(sessionID) + `,"nickName":` + quote(nickName) + `}`
	}
	for name, tt := range map[string]struct {
		body    string
		options []option
		want    *user
	}{
		"body":                       {body(alice.SessionID, "1"), nil, &alice},
		"header before body":         {body(alice.SessionID, "2"), []option{bearer(bob.SessionID)}, &bob},
		"cookie before body":         {body(alice.SessionID, "3"), []option{cookie(bob.SessionID)}, &bob},
		"header before cookie, body": {body(bob.SessionID, "4"), []option{bearer(alice.SessionID), cookie(bob.SessionID)}, &alice},
		"header, body without one":   {`{"nickName":"5"}`, []option{bearer(alice.SessionID)}, &alice},
		"header, body's is nonsense": {body("nonsense", "6"), []option{bearer(alice.SessionID)}, &alice},
		"header, body's is null":     {`{"sessionID":null,"nickName":"7"}`, []option{bearer(alice.SessionID)}, &alice},
		"header invalid, body valid": {body(alice.SessionID, "8"), []option{bearer("nonsense")}, nil},
		"cookie invalid, body valid": {body(alice.SessionID, "9"), []option{cookie("nonsense")}, nil},
		"body invalid":               {body(flip(alice.SessionID), "10"), nil, nil},
		"body expired":               {body(s.sign(expired), "11"), nil, nil},
		"body holds an openid":       {body(alice.OpenID, "12"), nil, nil},
		"body's name is another":     {`{"session_id":` + quote(alice.SessionID) + `,"nickName":"13"}`, nil, nil},
		"nowhere":                    {`{"nickName":"14"}`, nil, nil},
		"null":                       {`{"sessionID":null,"nickName":"15"}`, nil, nil},
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

	t.Run("only update_user_info looks into the body", func(t *testing.T) {
		for endpoint, body := range map[string]string{
			getUserInfo:   `{"sessionID":%s}`,
			upsetUserInfo: `{"sessionID":%s,"key":"rg","value":"true"}`,
			getQrcode:     `{"sessionID":%s,"scene":"a"}`,
		} {
			s.post(t, endpoint, fmt.Sprintf(body, quote(alice.SessionID))).refused(t, http.StatusUnauthorized, 1018)
		}
	})
}

// testExistingClients does what the clients of the first system do: they know their session only as a cookie, and send fields that the
// document does not have.
func testExistingClients(t *testing.T, s *setting) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	address := s.public // what the client believes to be talking to: a jar keeps Secure cookies to https
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

	// A cookie that counts no more is taken away.
	jar.SetCookies(site, []*http.Cookie{{Name: "session_token", Value: "nonsense", Path: "/"}})
	call(reLogin, `{}`).ok(t, &first)
	if cookies := jar.Cookies(site); !first.Relogin || len(cookies) != 0 {
		t.Errorf("relogin %t, %d cookies left", first.Relogin, len(cookies))
	}
}
