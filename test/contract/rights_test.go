package contract_test

import (
	"image"
	"net/http"
	"strings"
	"testing"
	"time"
)

// refusedEverywhere fails the test unless the session is refused by every process within a second.
func (u user) refusedEverywhere(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Second)
	for !u.post(t, getUserInfo, `{}`).sessionEnded(t) {
		if time.Now().After(deadline) {
			t.Fatal("the session is valid a second later")
		}
	}
	var a reLoginAnswer
	u.post(t, reLogin, `{}`).ok(t, &a)
	if !a.Relogin {
		t.Error("re_login renews an ended session")
	}
}

// sessionEnded reports whether the answer is 401/1018.
func (r reply) sessionEnded(t *testing.T) bool {
	t.Helper()
	if data, err := r.data(); err == nil && data != nil {
		return false
	}
	code, _, err := r.refusal()
	if err != nil {
		t.Fatal(err)
	}
	return code == 1018
}

func testLogout(t *testing.T, s *setting) {
	u, other := s.newUser(t), s.login(t, t.Name()+" other")
	u.post(t, updateUserInfo, `{"nickName":"Alice"}`).ok(t)
	second := s.login(t, u.name) // on another device
	r := s.post(t, logout, `{}`, cookie(u.SessionID))
	r.ok(t)
	s.setsCookie(t, r, "")
	golden(t, s, logout, `{}`, r)
	u.refusedEverywhere(t)
	second.refusedEverywhere(t)
	u.post(t, logout, `{}`).refused(t, http.StatusUnauthorized, 1018)
	other.has(t)
	again := s.login(t, u.name)
	again.has(t, func(p *profile) { p.NickName = "Alice" })
	if r := again.post(t, logout, ``); len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("a session in the header: the answer sets the cookie %q", r.Header["Set-Cookie"])
	}
}

func testDeleteUserInfo(t *testing.T, s *setting) {
	u, other := s.newUser(t), s.login(t, t.Name()+" other")
	picture := asPNG(t, image.NewGray(image.Rect(0, 0, 8, 8)))
	address, others := u.avatar(t, picture), other.avatar(t, picture)
	used := s.code(t, u.name)
	s.post(t, oauth, loginBody(used)).ok(t)
	for body, want := range map[string]struct{ status, code int }{
		`{}`: {400, 1001}, loginBody(strings.Repeat("c", 129)): {400, 1001}, loginBody(used): {401, 1008},
		loginBody(s.code(t, other.name)): {400, 1001},
	} {
		u.post(t, deleteUserInfo, body).refused(t, want.status, want.code)
	}
	s.post(t, deleteUserInfo, loginBody(s.code(t, u.name))).refused(t, http.StatusUnauthorized, 1018)
	u.has(t, func(p *profile) { p.AvatarURL = address })
	other.has(t, func(p *profile) { p.AvatarURL = others })

	r := s.post(t, deleteUserInfo, loginBody(s.code(t, u.name)), cookie(u.SessionID))
	r.ok(t)
	s.setsCookie(t, r, "")
	golden(t, s, deleteUserInfo, loginBody("<code>"), r)
	u.refusedEverywhere(t)
	u.post(t, deleteUserInfo, loginBody(s.code(t, u.name))).refused(t, http.StatusUnauthorized, 1018)
	s.do(t, http.MethodGet, s.path(t, address), nil).refused(t, http.StatusNotFound, 1006)
	s.picture(t, others, ".*")
	other.has(t, func(p *profile) { p.AvatarURL = others })
	waitUntil(t, "a line of the log says that an account was deleted", func() bool {
		return strings.Contains(s.edge.Output()+s.users.Output(), "user deleted the account")
	})
	again := s.login(t, u.name)
	again.has(t) // a new user
}
