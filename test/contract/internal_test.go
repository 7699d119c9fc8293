package contract_test

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"shares/internal/testenv"
	"shares/test/testprocess"
)

// inside is an installation with an internal port.
type inside struct {
	*setting
	dir string // of the embedded installation
}

// The tokens of two services. The first rotates its own.
const (
	ordersToken = "orders-token-0123456789abcdef0123456789"
	ordersNext  = "orders-next-token-0123456789abcdef01234"
	phonesToken = "phones-token-0123456789abcdef0123456789"
)

// internally returns env with an internal port.
func internally(t *testing.T, env map[string]string) map[string]string {
	t.Helper()
	address, err := testenv.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	unseen.Hide("token of a caller", ordersToken, ordersNext, phonesToken)
	all := map[string]string{
		"SHARES_INTERNAL_LISTEN":  address,
		"SHARES_INTERNAL_CALLERS": "orders:" + ordersToken + ", orders:" + ordersNext + ", phones+phone:" + phonesToken,
		"SHARES_WECHAT_PATHS":     "/cgi-bin/message/, /cgi-bin/media/upload, /cgi-bin, /wxa/getwxacodeunlimit",
	}
	maps.Copy(all, env)
	return all
}

// TestInternal runs the same table against the internal port of every installation. The service
// wraps its public answers as the legacy service did, but not those of the internal port.
func TestInternal(t *testing.T) {
	for _, i := range installations {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			s := inside{dir: t.TempDir()}
			env := internally(t, map[string]string{"SHARES_ENVELOPE": "true"})
			if i.name == "embedded" {
				s.setting = embeddedIn(t, s.dir, env)
			} else {
				s.setting = i.install(t, env)
			}
			for _, part := range []struct {
				name string
				test func(*testing.T, inside)
			}{
				{"auth", testAuth},
				{"auth, sessions", testAuthSessions},
				{"auth, origins", testAuthOrigins},
				{"auth, hostile headers", testAuthHeaders},
				{"auth, revoked", testAuthRevoked},
				{"wechat", testForward},
				{"wechat, callers", testForwardCallers},
				{"wechat, refused", testForwardRefused},
				{"wechat, bodies", testForwardBodies},
				{"wechat, token rotation", testForwardRotation},
				{"users", testUsers},
				{"users, refused", testUsersRefused},
				{"refusals are not logged as errors", func(t *testing.T, s inside) { testNoErrors(t, s.setting) }},
				{"wechat, faults", testForwardFaults},
			} {
				t.Run(part.name, func(t *testing.T) { part.test(t, s) })
			}
		})
	}
}

// authorize calls /auth.
func (s *setting) authorize(t testing.TB, options ...option) reply {
	t.Helper()
	return s.do(t, http.MethodGet, s.edgePort+"/auth", nil, options...)
}

// isUser fails the test unless the answer names the user.
func (r reply) isUser(t testing.TB, u user) {
	t.Helper()
	id, err := strconv.ParseInt(r.Header.Get("X-Shares-User-Id"), 10, 64)
	if r.StatusCode != http.StatusOK || len(r.raw) != 0 || err != nil || id <= 0 {
		t.Fatalf("status %d, user id %q, %d bytes, want 200, a number and none", r.StatusCode, r.Header.Get("X-Shares-User-Id"), len(r.raw))
	}
	if got := r.Header.Get("X-Shares-Openid"); got != u.OpenID {
		t.Errorf("X-Shares-Openid: got %q, want %q", got, u.OpenID)
	}
	if got, want := r.Header.Get("X-Shares-Session-Expires"), fmt.Sprint(u.OverdueTime); got != want {
		t.Errorf("X-Shares-Session-Expires: got %q, want %q", got, want)
	}
}

func testAuth(t *testing.T, s inside) {
	u := s.newUser(t)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, path := range []string{"/auth", "/auth/", "/auth/orders/1?page=2", "/auth/a//b/../c"} {
			s.do(t, method, s.edgePort+path, nil, bearer(u.SessionID)).isUser(t, u)
		}
	}
	s.authorize(t, cookie(u.SessionID)).isUser(t, u)
	for range 100 { // the limit of requests per user does not count here
		s.authorize(t, bearer(u.SessionID)).isUser(t, u)
	}
	for _, path := range []string{"/", "/authx", "//auth", "/metrics", prefix + getUserInfo} {
		s.do(t, http.MethodPost, s.edgePort+path, strings.NewReader("{}"), bearer(u.SessionID)).refused(t, http.StatusNotFound, 1006)
	}
	s.do(t, http.MethodGet, "/auth", nil, bearer(u.SessionID)).refused(t, http.StatusNotFound, 1006) // the public port
}

func testAuthSessions(t *testing.T, s inside) {
	u := s.newUser(t)
	for name, options := range u.invalidSessions(t) {
		t.Run(name, func(t *testing.T) {
			r := s.authorize(t, options...)
			r.refused(t, http.StatusUnauthorized, 1018)
			for _, name := range []string{"X-Shares-User-Id", "X-Shares-Openid", "X-Shares-Session-Expires"} {
				if r.Header[name] != nil {
					t.Errorf("a refusal has %s", name)
				}
			}
		})
	}
}

func testAuthOrigins(t *testing.T, s inside) {
	u := s.newUser(t)
	foreign := header("Origin", "https://evil.example")
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		unsafe := header(name, "POST")
		s.authorize(t, cookie(u.SessionID), foreign, unsafe).refused(t, http.StatusForbidden, 1080)
		s.authorize(t, cookie(u.SessionID), header("Origin", "null"), unsafe).refused(t, http.StatusForbidden, 1080)
		s.authorize(t, bearer(u.SessionID), foreign, unsafe).isUser(t, u)
		s.authorize(t, cookie(u.SessionID), unsafe).isUser(t, u)
		s.authorize(t, foreign, unsafe).refused(t, http.StatusUnauthorized, 1018)
		// A client's own header cannot hide the method that the proxy sends in the other one.
		s.authorize(t, cookie(u.SessionID), foreign, unsafe, header("X-Http-Method", "GET")).refused(t, http.StatusForbidden, 1080)
	}
	s.authorize(t, cookie(u.SessionID), foreign, header("X-Forwarded-Method", "GET"), header("X-Original-Method", "delete")).
		refused(t, http.StatusForbidden, 1080)
	twice := func(r *http.Request) { r.Header["X-Original-Method"] = []string{"GET", "POST"} }
	s.authorize(t, cookie(u.SessionID), foreign, twice).refused(t, http.StatusForbidden, 1080)
	s.do(t, http.MethodPost, s.edgePort+"/auth", nil, cookie(u.SessionID), foreign).refused(t, http.StatusForbidden, 1080)
	s.authorize(t, cookie(u.SessionID), foreign).isUser(t, u)
	if s.public != "" {
		own := strings.TrimSuffix(s.public, "/behind/a/path")
		s.authorize(t, cookie(u.SessionID), header("Origin", own), header("X-Original-Method", "POST")).isUser(t, u)
	}
}

func testAuthHeaders(t *testing.T, s inside) {
	u := s.newUser(t)
	twice := func(r *http.Request) {
		r.Header["Authorization"] = []string{"Bearer nonsense", "Bearer " + u.SessionID}
	}
	s.authorize(t, twice).refused(t, http.StatusUnauthorized, 1018)
	s.authorize(t, header("X-Shares-User-Id", "1"), header("X-Shares-Openid", u.OpenID)).refused(t, http.StatusUnauthorized, 1018)
}

func testAuthRevoked(t *testing.T, s inside) {
	u := s.newUser(t)
	s.authorize(t, bearer(u.SessionID)).isUser(t, u) // now cached
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"user", "revoke", u.OpenID}, Env: s.env, Dir: s.dir})
	if err != nil || code != 0 {
		t.Fatalf("code %d, %v: %s", code, err, printed)
	}
	began := time.Now()
	waitUntil(t, "the session is refused", func() bool {
		return s.authorize(t, bearer(u.SessionID)).StatusCode == http.StatusUnauthorized
	})
	t.Logf("refused %s after the end of `shares user revoke`", time.Since(began))
	again := s.login(t, u.name)
	s.authorize(t, bearer(again.SessionID)).isUser(t, again)
}
