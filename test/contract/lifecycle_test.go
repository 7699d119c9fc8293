package contract_test

import (
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"shares/internal/testenv"
	"shares/test/testprocess"
)

// TestDataSurvives ends the embedded service with SIGTERM and SIGKILL, and restarts it in the same
// directory.
func TestDataSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *setting { return embeddedIn(t, dir, nil) }
	s := start()
	u := s.newUser(t)
	want := fresh()
	for nickName, end := range map[string]func() error{
		"before SIGTERM": func() error { _, err := s.edge.Term(); return err },
		"before SIGKILL": func() error { return s.edge.Kill() },
	} {
		u.post(t, updateUserInfo, `{"nickName":`+quote(nickName)+`}`).ok(t)
		want.NickName = nickName
		address := u.qrcode(t, "pages/a", "survives")
		if err := end(); err != nil {
			t.Fatal(err)
		}
		s = start()
		u.s = s
		u.has(t, want) // the session is valid, because its secret is in the directory
		if again := s.login(t, u.name); again.OpenID != u.OpenID {
			t.Errorf("openid: got %q, want %q as before", again.OpenID, u.OpenID)
		}
		before := s.calls(t, unlimitedCode)
		after := u.qrcode(t, "pages/a", "survives")
		if _, path, _ := strings.Cut(address, "/shares/"); !strings.HasSuffix(after, path) || s.calls(t, unlimitedCode) != before {
			t.Errorf("the QR code was created again: %q, then %q", address, after)
		}
	}
}

const code2session = "/sns/jscode2session"

// startLogin sends a login that WeChat answers after delay milliseconds, and returns when WeChat
// has received it.
func (s *setting) startLogin(t *testing.T, delay string) (finish func() reply) {
	t.Helper()
	code, calls := s.code(t, t.Name()), s.calls(t, code2session)
	s.fault(t, `{"endpoint":"`+code2session+`","kind":"delay","delay_ms":`+delay+`}`)
	finish = s.start(t, prefix+oauth, strings.NewReader(loginBody(code)))
	waitUntil(t, "the login waits for WeChat", func() bool { return s.calls(t, code2session) > calls })
	return finish
}

// TestTermFinishesRequests sends SIGTERM while a login waits for WeChat.
func TestTermFinishesRequests(t *testing.T) {
	t.Parallel()
	for name, install := range map[string]func(*testing.T, map[string]string) *setting{"serve": embedded, "api": apart, "rpc": apart} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := install(t, nil)
			finish := s.startLogin(t, "1500")
			p := s.edge
			if name == "rpc" {
				p = s.users
			}
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			var a loginAnswer
			finish().ok(t, &a)
			s.hide(a.SessionID, a.OpenID)
			<-p.Done()
			if code := p.ExitCode(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if conn, err := net.Dial("tcp", p.Address()); err == nil {
				t.Errorf("the port is still open: %v", conn.Close())
			}
		})
	}
}

// TestStorageUnavailable kills Redis, then the database, then starts both again.
func TestStorageUnavailable(t *testing.T) {
	t.Parallel()
	db, redis := testenv.NewMariaDB(t), testenv.Redis(t)
	parts := realParts(t, db, redis)
	parts.migrate(t)
	s := apartOn(t, parts, nil)
	u := s.newUser(t)

	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	// Without Redis everything works, but slower.
	s.login(t, t.Name()+" during")
	u.post(t, updateUserInfo, `{"nickName":"without Redis"}`).ok(t)
	want := fresh()
	want.NickName = "without Redis"
	u.has(t, want)
	u.qrcode(t, "pages/a", "without-redis")
	var renewed reLoginAnswer
	u.post(t, reLogin, `{}`).ok(t, &renewed)
	s.hide(renewed.SessionID)
	if renewed.Relogin {
		t.Error("relogin true without Redis")
	}

	if err := db.Kill(); err != nil {
		t.Fatal(err)
	}
	cold := apartOn(t, parts, nil) // has no cached row
	stranger := u
	stranger.s = cold
	for range 10 {
		// A process that has cached the row may still use it. None may ask the user to log in
		// again.
		var a reLoginAnswer
		if r := u.post(t, reLogin, `{}`); r.StatusCode == http.StatusOK {
			r.ok(t, &a)
			s.hide(a.SessionID)
			if a.Relogin {
				t.Fatal("relogin true while the storage is unavailable")
			}
		} else {
			unavailable(t, r)
		}
		unavailable(t, stranger.post(t, reLogin, `{}`))
	}
	unavailable(t, cold.post(t, reLogin, `{}`, cookie(u.SessionID)))
	unavailable(t, stranger.post(t, getUserInfo, `{}`))
	unavailable(t, stranger.post(t, updateUserInfo, `{"nickName":"lost"}`))
	unavailable(t, stranger.post(t, upsetUserInfo, `{"key":"rg","value":"false"}`))
	unavailable(t, stranger.post(t, getQrcode, codeBody("pages/a", "unavailable")))
	unavailable(t, cold.post(t, oauth, loginBody(cold.code(t, t.Name()))))
	// Answers that need no storage do not change.
	var none reLoginAnswer
	cold.post(t, reLogin, `{}`).ok(t, &none)
	if !none.Relogin {
		t.Error("relogin false without a session")
	}
	cold.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)

	if err := db.Start(); err != nil {
		t.Fatal(err)
	}
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	for _, who := range []user{u, stranger} {
		waitUntil(t, "the service recovers without a restart", func() bool {
			return who.post(t, getUserInfo, `{}`).StatusCode == http.StatusOK
		})
		who.has(t, want)
	}
	testLogs(t, s)
	testLogs(t, cold)
}

// unavailable fails the test unless the answer is 503 with Retry-After, and does not set the
// cookie.
func unavailable(t *testing.T, r reply) {
	t.Helper()
	r.refused(t, http.StatusServiceUnavailable, -1)
	r.retryAfter(t)
	if r.sessionCookie() != nil {
		t.Error("the answer sets the cookie")
	}
}

// TestUserServiceUnavailable kills rpc while api runs, and starts it again.
func TestUserServiceUnavailable(t *testing.T) {
	t.Parallel()
	s := apart(t, nil)
	u := s.newUser(t)
	if err := s.users.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		unavailable(t, u.post(t, reLogin, `{}`))
		unavailable(t, u.post(t, getUserInfo, `{}`))
		unavailable(t, s.post(t, oauth, loginBody(s.code(t, u.name))))
	}
	s.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
	s.users = testprocess.Run(t, testprocess.Options{Args: []string{"rpc"}, Env: s.env})
	waitUntil(t, "api reconnects to rpc", func() bool {
		return u.post(t, getUserInfo, `{}`).StatusCode == http.StatusOK
	})
	u.has(t, fresh())
}

// TestLimits exceeds the limits of logins per address, avatars per user and calls per user.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := embedded(t, map[string]string{
		"SHARES_LOGIN_PER_MINUTE": "2", "SHARES_USER_PER_SECOND": "1", "SHARES_USER_BURST": "10", "SHARES_AVATARS_PER_USER_DAY": "1",
	})
	u, other := s.newUser(t), s.login(t, t.Name()+" other")
	calls := s.calls(t, code2session)
	// A client cannot change its address by headers.
	for _, options := range [][]option{nil, {header("X-Forwarded-For", "1.2.3.4")}, {header("X-Real-Ip", "1.2.3.4")}} {
		r := s.post(t, oauth, loginBody(s.code(t, t.Name())), options...)
		r.refused(t, http.StatusTooManyRequests, 1094)
		r.retryAfter(t)
	}
	if n := s.calls(t, code2session) - calls; n != 0 {
		t.Errorf("%d calls to WeChat, want 0", n)
	}
	var a reLoginAnswer
	u.post(t, reLogin, `{}`).ok(t, &a) // sessions can still be renewed
	s.hide(a.SessionID)

	u.upload(t, form(nil)).refused(t, http.StatusBadRequest, 1001) // not counted
	u.avatar(t, asPNG(t, quartered(16, 16)))
	r := u.upload(t, form(asPNG(t, quartered(16, 16))))
	r.refused(t, http.StatusTooManyRequests, 1094)
	if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < 23*60*60 || after > 24*60*60 {
		t.Errorf("Retry-After: got %q, want a day", r.Header.Get("Retry-After"))
	}

	var refused atomic.Pointer[reply]
	var done sync.WaitGroup
	for range 100 {
		done.Go(func() {
			r, err := s.try(t, http.MethodPost, prefix+getUserInfo, strings.NewReader(`{}`), bearer(u.SessionID))
			if err != nil {
				t.Error(err)
			} else if _, err := r.data(); err != nil {
				refused.Store(&r)
			}
		})
	}
	done.Wait()
	other.has(t, fresh())
	if refused.Load() == nil {
		t.Fatal("100 calls: none refused, want some")
	}
	refused.Load().refused(t, http.StatusTooManyRequests, 1094)
	refused.Load().retryAfter(t)
	waitUntil(t, "the user may call again", func() bool {
		_, err := u.post(t, getUserInfo, `{}`).data()
		return err == nil
	})
}

// TestSettings checks settings that change the behaviour of endpoints.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := embedded(t, map[string]string{"SHARES_NEW_USER_CAPACITY": "7", "SHARES_PHONE": "verified", "SHARES_MAX_IN_FLIGHT": "1", "WECHAT_TIMEOUT": "40s"})
	u := s.newUser(t)
	want := fresh()
	want.Capacity = 7
	u.has(t, want)

	// With SHARES_PHONE=verified a number must be verified by WeChat. It can be cleared without
	// WeChat.
	s.hide("13800138000")
	u.post(t, upsetUserInfo, `{"key":"phone","value":"13800138000"}`).refused(t, http.StatusBadRequest, 1001, "phoneCode")
	u.has(t, want)
	var proof struct{ Code string }
	s.simulator(t, http.MethodPost, "phone_code", `{"phone":"13800138000"}`, &proof)
	s.hide(proof.Code)
	u.post(t, upsetUserInfo, `{"key":"phoneCode","value":`+quote(proof.Code)+`}`).ok(t)
	if got := u.profile(t).Phone; !strings.HasSuffix(got, "13800138000") {
		t.Errorf("phone %q", got)
	}
	u.post(t, upsetUserInfo, `{"key":"phone","value":""}`).ok(t)
	u.has(t, want)

	// A login that waits for WeChat takes the only login slot. Another login is refused
	// immediately; other endpoints work.
	finish := s.startLogin(t, "15000")
	unavailable(t, s.post(t, oauth, loginBody(s.code(t, t.Name()))))
	u.has(t, want)
	finish().ok(t)
	u.has(t, want)
	testLogs(t, s)
}

// TestSecretsRotate adds a new secret that signs, then removes the old one.
func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	const next = "the-next-session-secret-0123456789-abcdefgh"
	dir := t.TempDir()
	start := func(secrets string) *setting {
		return embeddedIn(t, dir, map[string]string{"SESSION_SECRET": secrets})
	}
	s := start(sessionSecret)
	u := s.newUser(t)
	end := func() {
		t.Helper()
		if code, err := s.edge.Term(); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		testLogs(t, s)
	}
	end()
	s = start(next + "," + sessionSecret)
	u.s = s
	u.has(t, fresh())
	var a reLoginAnswer
	u.post(t, reLogin, `{}`).ok(t, &a)
	end()
	s = start(next)
	s.post(t, getUserInfo, `{}`, bearer(u.SessionID)).refused(t, http.StatusUnauthorized, 1018)
	u.s, u.SessionID = s, a.SessionID
	s.hide(a.SessionID)
	u.has(t, fresh())
	testLogs(t, s)
}

// TestProRefusesEmbeddedParts starts pro mode without settings. The error names every missing
// variable, and no value.
func TestProRefusesEmbeddedParts(t *testing.T) {
	t.Parallel()
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{
		Args: []string{"serve"}, Env: map[string]string{"SHARES_MODE": "pro", "SESSION_SECRET": "tooshort"}, Dir: t.TempDir(),
	})
	if err != nil || code != 1 || strings.Contains(printed, "tooshort") {
		t.Errorf("code %d, %v, %q, want 1 and no secret", code, err, printed)
	}
	for _, variable := range []string{
		"MYSQL_DSN", "REDIS_ADDR", "WECHAT_APPID", "WECHAT_SECRET", "SESSION_SECRET", "QRCODE_BUCKET", "SHARES_PUBLIC_URL",
	} {
		if !strings.Contains(printed, variable) {
			t.Errorf("%s is not named in %q", variable, printed)
		}
	}
}

// TestRevocationWithoutRedis revokes sessions while Redis is unavailable. The cached row must not
// make the service refuse a later login.
func TestRevocationWithoutRedis(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	u := s.newUser(t)
	u.profile(t) // now cached
	env := maps.Clone(s.env)
	env["REDIS_ADDR"] = "127.0.0.1:1"
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"user", "revoke", u.OpenID}, Env: env})
	if err != nil || code == 0 || !strings.Contains(printed, "Redis is unavailable") {
		t.Fatalf("code %d, %v: %s", code, err, printed)
	}
	again := s.login(t, u.name)
	again.profile(t)
	again.post(t, updateUserInfo, `{"nickName":"again"}`).ok(t)
	u.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
}

// TestUnmigratedDatabase starts without the tables. Answers are 503, and the log says to run
// `shares migrate`.
func TestUnmigratedDatabase(t *testing.T) {
	t.Parallel()
	parts := realParts(t, testenv.MariaDB(t), testenv.Redis(t))
	s := serveOn(t, parts, nil)
	unavailable(t, s.post(t, oauth, loginBody(s.code(t, t.Name()))))
	waitUntil(t, "the log says to run `shares migrate`", func() bool { return strings.Contains(s.edge.Output(), "run `shares migrate`") })
	parts.migrate(t)
	s.newUser(t).has(t, fresh())
}

// TestSecondServe starts a second process in the same directory, which fails: it would use another
// embedded Redis.
func TestSecondServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := embeddedIn(t, dir, nil)
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"serve"}, Dir: dir})
	if err != nil || code == 0 || !strings.Contains(printed, "is in use by another shares serve") {
		t.Errorf("code %d, %v: %s", code, err, printed)
	}
	u := s.newUser(t)
	printed, code, err = testprocess.Once(t.Context(), testprocess.Options{Args: []string{"user", "revoke", u.OpenID}, Dir: dir})
	if err != nil || code != 0 {
		t.Errorf("user revoke in the first process: code %d, %v: %s", code, err, printed)
	}
	u.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
}
