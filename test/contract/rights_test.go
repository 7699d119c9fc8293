package contract_test

import (
	"database/sql"
	"image"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// isSignedOut fails the test unless the session is refused, on a replica soon after it ended.
func (u user) isSignedOut(t *testing.T) {
	t.Helper()
	waitUntil(t, "the session ends", func() bool {
		if u.post(t, getUserInfo, `{}`).sessionEnded(t) {
			return true
		}
		time.Sleep(100 * time.Millisecond) // within the user's rate limit
		return false
	})
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
	u.isSignedOut(t)
	second.isSignedOut(t)
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
	u.isSignedOut(t)
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

// TestDeletionLeavesNothing deletes a user that two replicas know, and searches the database, Redis
// and the bucket for the user's data.
func TestDeletionLeavesNothing(t *testing.T) {
	t.Parallel()
	redisServer := testenv.Redis(t)
	parts := realParts(t, testenv.MariaDB(t), redisServer)
	parts.migrate(t)
	s, replica := serveOn(t, parts, nil), serveOn(t, parts, nil)
	u := s.newUser(t)
	address := u.avatar(t, asPNG(t, image.NewGray(image.Rect(0, 0, 8, 8))))
	const phone = "13912345678"
	u.post(t, updateUserInfo, `{"nickName":"`+nickName+`"}`).ok(t)
	u.post(t, upsetUserInfo, upsetBody("phone", phone)).ok(t)
	other := u
	other.s = replica
	if p := other.profile(t); p.Phone != phone || p.AvatarURL != address {
		t.Fatalf("the replica has %+v", p)
	}
	personal := []string{u.OpenID, phone, nickName}
	if found := searchAll(t, parts, redisServer.Client(t), personal); len(found) == 0 {
		t.Fatal("the search finds nothing before the deletion")
	}

	u.post(t, deleteUserInfo, loginBody(s.code(t, u.name))).ok(t)
	other.isSignedOut(t)
	for _, found := range searchAll(t, parts, redisServer.Client(t), personal) {
		t.Errorf("after the deletion: %s", found)
	}
	for _, r := range []*setting{s, replica} {
		r.do(t, http.MethodGet, r.path(t, address), nil).refused(t, http.StatusNotFound, 1006)
	}
	for _, printed := range []string{s.edge.Output(), replica.edge.Output()} {
		for _, text := range personal {
			if strings.Contains(printed, text) {
				t.Errorf("the log contains %s", text)
			}
		}
	}
}

const nickName = "删除测试的昵称"

// searchAll returns where the database, Redis and the bucket have one of the texts or an avatar.
func searchAll(t *testing.T, parts pro, client *redis.Client, texts []string) (found []string) {
	t.Helper()
	check := func(where, content string) {
		for _, text := range texts {
			if strings.Contains(where+content, text) {
				found = append(found, where)
			}
		}
	}
	db, err := sql.Open("mysql", parts["MYSQL_DSN"])
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows sql.NullString
	err = db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(openid, ' ', phone, ' ', nick_name, ' ', avatar_url) FROM wx_userinfo").Scan(&rows)
	if err != nil {
		t.Fatal(err)
	}
	check("the table", rows.String)

	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		value, err := client.Get(t.Context(), key).Result()
		if err != nil { // it is no string
			value = strings.Join(client.ZRange(t.Context(), key, 0, -1).Val(), " ")
		}
		check("Redis key "+key, value)
	}
	err = filepath.WalkDir(strings.TrimPrefix(parts["QRCODE_BUCKET"], "file://"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, "the bucket's "+path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
