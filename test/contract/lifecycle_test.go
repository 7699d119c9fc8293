package contract_test

import (
	"fmt"
	"image"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shares/internal/testenv"
	"shares/simulator"
	"shares/test/testprocess"
)

// TestDataSurvives ends the embedded service with SIGTERM and SIGKILL, and restarts it in the same
// directory.
func TestDataSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := embeddedIn(t, dir, nil)
	u := s.newUser(t)
	for nickName, end := range map[string]func() error{
		"before SIGTERM": func() error { _, err := s.edge.Term(); return err },
		"before SIGKILL": func() error { return s.edge.Kill() },
	} {
		u.post(t, updateUserInfo, `{"nickName":`+quote(nickName)+`}`).ok(t)
		path := s.path(t, u.qrcode(t, "pages/a", "survives"))
		if err := end(); err != nil {
			t.Fatal(err)
		}
		s = embeddedIn(t, dir, nil)
		u.s = s
		u.has(t, func(p *profile) { p.NickName = nickName }) // the session is valid, because its secret is in the directory
		if again := s.login(t, u.name); again.OpenID != u.OpenID {
			t.Errorf("openid: got %q, want %q as before", again.OpenID, u.OpenID)
		}
		if after := s.path(t, u.qrcode(t, "pages/a", "survives")); after != path || s.calls(t, unlimitedCode) != 0 {
			t.Errorf("the QR code was created again: %q, then %q", path, after)
		}
	}
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"user", "revoke", u.OpenID}, Dir: dir})
	if err != nil || code != 0 {
		t.Errorf("shares user revoke: code %d, %v: %s", code, err, printed)
	}
	u.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
}

const code2session = "/sns/jscode2session"

// startLogin sends a login that WeChat answers after delay milliseconds, and returns when WeChat
// has received it. finish waits for its answer.
func (s *setting) startLogin(t testing.TB, delay string) (finish func() reply) {
	t.Helper()
	body, calls := loginBody(s.code(t, t.Name())), s.calls(t, code2session)
	s.fault(t, `{"endpoint":"`+code2session+`","kind":"delay","delay_ms":`+delay+`}`)
	c := s.connect(t, oauth, fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d", len(body)))
	c.send(t, body)
	waitUntil(t, "the login waits for WeChat", func() bool { return s.calls(t, code2session) > calls })
	return func() reply { return c.answer(t) }
}

// TestTermFinishesRequests sends SIGTERM while a request runs: a login that waits for WeChat, or an
// upload, the slowest kind of request.
func TestTermFinishesRequests(t *testing.T) {
	t.Parallel()
	login := func(s *setting, t testing.TB) func() reply { return s.startLogin(t, "1500") }
	upload := func(s *setting, t testing.TB) func() reply { return s.newUser(t).startUpload(t) }
	for name, tt := range map[string]struct {
		install func(*testing.T, map[string]string) *setting
		start   func(*setting, testing.TB) (finish func() reply)
	}{"serve": {embedded, login}, "serve, upload": {embedded, upload}, "api": {apart, login}, "rpc": {apart, login}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.install(t, nil)
			finish := tt.start(s, t)
			p := s.edge
			if name == "rpc" {
				p = s.users
			}
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "the listener closes", func() bool {
				conn, err := net.Dial("tcp", p.Address())
				if err == nil {
					_ = conn.Close()
				}
				return err != nil
			})
			var a loginAnswer
			finish().ok(t, &a)
			s.hide(a.SessionID, a.OpenID)
			<-p.Done()
			if code := p.ExitCode(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	}
}

// TestShutdownHasALimit shuts down while the trace collector hangs.
func TestShutdownHasALimit(t *testing.T) {
	t.Parallel()
	hang, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hang.Close()
	const limit = 12 * time.Second // the minimum for this SHARES_TIMEOUT
	s := embedded(t, map[string]string{
		"SHARES_OTLP_ENDPOINT": hang.Addr().String(), "SHARES_TRACE_SAMPLE": "1", "SHARES_SHUTDOWN": limit.String(),
		"SHARES_TIMEOUT": "5s", "SHARES_RPC_TIMEOUT": "4s", "MYSQL_TIMEOUT": "3s", "WECHAT_TIMEOUT": "3s",
	})
	s.post(t, getUserInfo, `{}`) // creates a trace
	start := time.Now()
	if code, err := s.edge.Term(); code != 0 || err != nil {
		t.Fatalf("exit code: got %d, %v, want 0", code, err)
	}
	if took := time.Since(start); took > limit+30*time.Second { // without the limit it takes a minute
		t.Errorf("ended after %s, want at most SHARES_SHUTDOWN (%s)", took, limit)
	}
}

// TestSecondSignalEndsImmediately sends two signals while an upload runs.
func TestSecondSignalEndsImmediately(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := embedded(t, nil)
		s.newUser(t).startUpload(t)
		waitUntil(t, signal.String()+" ends the process", func() bool {
			if err := s.edge.Signal(signal); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.edge.Done():
				return true
			case <-time.After(100 * time.Millisecond):
				return false
			}
		})
		if code := s.edge.ExitCode(); code != -1 {
			t.Errorf("%s: exit code: got %d, want -1 (ended by a signal)", signal, code)
		}
	}
}

// TestStorageUnavailable starts before the tables exist, kills Redis, then the database, then starts both again.
func TestStorageUnavailable(t *testing.T) {
	t.Parallel()
	db, redis := testenv.NewMariaDB(t), testenv.Redis(t)
	parts := realParts(t, db, redis)
	s := apartOn(t, parts, internally(t, nil))
	unavailable(t, s.post(t, oauth, loginBody(s.code(t, t.Name())))) // there are no tables
	parts.migrate(t)
	u := s.newUser(t)

	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	want := func(p *profile) { p.NickName = "without Redis" }
	testWithoutRedis(t, u, want)
	if err := db.Kill(); err != nil {
		t.Fatal(err)
	}
	stranger := u
	stranger.s = apartOn(t, parts, internally(t, nil)) // has no cached row
	testWithoutStorage(t, u, stranger)
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
		who.s.authorize(t, bearer(who.SessionID)).isUser(t, who)
	}
}

// testWithoutRedis shows that everything works without Redis, but slower. It makes want true.
func testWithoutRedis(t *testing.T, u user, want func(*profile)) {
	u.s.login(t, t.Name()+" during")
	u.post(t, updateUserInfo, `{"nickName":"without Redis"}`).ok(t)
	u.has(t, want)
	u.s.authorize(t, bearer(u.SessionID)).isUser(t, u)
	u.qrcode(t, "pages/a", "without-redis")
	var renewed reLoginAnswer
	u.post(t, reLogin, `{}`).ok(t, &renewed)
	u.s.hide(renewed.SessionID)
	if renewed.Relogin {
		t.Error("relogin true without Redis")
	}
}

// testWithoutStorage calls a process that has cached the user's row, and one that has not.
func testWithoutStorage(t *testing.T, u, stranger user) {
	cold := stranger.s
	for range 3 {
		// A process that has cached the row may still use it. None may ask the user to log in
		// again.
		var a reLoginAnswer
		if r := u.post(t, reLogin, `{}`); r.StatusCode == http.StatusOK {
			r.ok(t, &a)
			u.s.hide(a.SessionID)
			if a.Relogin {
				t.Fatal("relogin true while the storage is unavailable")
			}
		} else {
			unavailable(t, r)
		}
		unavailable(t, stranger.post(t, reLogin, `{}`))
		unavailable(t, cold.authorize(t, bearer(u.SessionID)))
		if u.s.authorize(t, bearer(u.SessionID)).StatusCode == http.StatusUnauthorized {
			t.Fatal("401 while the storage is unavailable")
		}
	}
	unavailable(t, cold.post(t, reLogin, `{}`, cookie(u.SessionID)))
	unavailable(t, stranger.post(t, getUserInfo, `{}`))
	unavailable(t, stranger.post(t, updateUserInfo, `{"nickName":"lost"}`))
	unavailable(t, stranger.post(t, upsetUserInfo, upsetBody("rg", "false")))
	unavailable(t, stranger.post(t, getQrcode, codeBody("pages/a", "unavailable")))
	unavailable(t, cold.post(t, oauth, loginBody(cold.code(t, t.Name()))))
	// Answers that need no storage do not change.
	var none reLoginAnswer
	cold.post(t, reLogin, `{}`).ok(t, &none)
	if !none.Relogin {
		t.Error("relogin false without a session")
	}
	cold.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
	cold.authorize(t).refused(t, http.StatusUnauthorized, 1018)
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
	s := apart(t, internally(t, nil))
	u := s.newUser(t)
	if err := s.users.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		unavailable(t, u.post(t, reLogin, `{}`))
		unavailable(t, u.post(t, getUserInfo, `{}`))
		unavailable(t, s.authorize(t, bearer(u.SessionID)))
		unavailable(t, s.post(t, oauth, loginBody(s.code(t, u.name))))
	}
	s.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
	if err := s.users.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "api reconnects to rpc", func() bool {
		return u.post(t, getUserInfo, `{}`).StatusCode == http.StatusOK
	})
	u.has(t)
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

	picture := asPNG(t, image.NewGray(image.Rect(0, 0, 16, 16)))
	u.upload(t, form(nil)).refused(t, http.StatusBadRequest, 1001) // not counted
	u.avatar(t, picture)
	r := u.upload(t, form(picture))
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
	other.has(t)
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
	want := func(p *profile) { p.Capacity = 7 }
	u.has(t, want)

	// With SHARES_PHONE=verified a number must be verified by WeChat. It can be cleared without
	// WeChat.
	body := s.phoneCode(t, "13800138000")
	u.post(t, upsetUserInfo, upsetBody("phone", "13800138000")).refused(t, http.StatusBadRequest, 1001, "phoneCode")
	u.has(t, want)
	u.post(t, upsetUserInfo, body).ok(t)
	if got := u.profile(t).Phone; !strings.HasSuffix(got, "13800138000") {
		t.Errorf("phone %q", got)
	}
	u.post(t, upsetUserInfo, upsetBody("phone", "")).ok(t)
	u.has(t, want)

	// A login that waits for WeChat takes the only login slot. Another login is refused
	// immediately; other endpoints work.
	s.startLogin(t, "30000")
	unavailable(t, s.post(t, oauth, loginBody(s.code(t, t.Name()))))
	u.has(t, want)
	if err := s.edge.Kill(); err != nil { // the login would take half a minute
		t.Error(err)
	}
}

// TestSecretsRotate adds a new secret that signs, then removes the old one.
func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	const next = "the-next-session-secret-0123456789-abcdefgh"
	dir := t.TempDir()
	restart := func(s *setting, secrets string) *setting {
		t.Helper()
		if code, err := s.edge.Term(); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		return embeddedIn(t, dir, map[string]string{"SESSION_SECRET": secrets})
	}
	s := embeddedIn(t, dir, map[string]string{"SESSION_SECRET": sessionSecret})
	u := s.newUser(t)
	u.s = restart(s, next+","+sessionSecret)
	u.has(t)
	var a reLoginAnswer
	u.post(t, reLogin, `{}`).ok(t, &a)
	s.hide(a.SessionID)
	u.s = restart(u.s, next)
	u.post(t, getUserInfo, `{}`).refused(t, http.StatusUnauthorized, 1018)
	u.SessionID = a.SessionID
	u.has(t)
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

// TestAnotherAppID starts an api whose AppID differs from rpc's. It is not ready, and says why.
func TestAnotherAppID(t *testing.T) {
	t.Parallel()
	s := apart(t, nil)
	env := maps.Clone(s.env)
	env["WECHAT_APPID"] = "wxother"
	edge := testprocess.Run(t, testprocess.Options{Args: []string{"api"}, Env: env, Secrets: &unseen})
	waitUntil(t, "the log names both AppIDs", func() bool {
		return strings.Contains(edge.Output(), `\"wxother\" in api, but \"`+simulator.DefaultAppID+`\" in rpc`)
	})
	other := newSetting(t, edge, s.users, env)
	other.control = s.control
	unavailable(t, other.post(t, oauth, loginBody(s.code(t, t.Name()))))
}
