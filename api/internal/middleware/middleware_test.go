package middleware

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"shares/api/internal/session"
	"shares/internal/reason"
)

type users func(int64) bool

func (f users) Allow(id int64) bool { return f(id) }

type logins func(key string) error

func (f logins) Take(_ context.Context, key string) (func(), error) { return nil, f(key) }

func newCredentials(tokens *session.Tokens, allow users) *Credentials {
	return &Credentials{Tokens: tokens, Users: allow, Refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})}
}

func allUsers(int64) bool { return true }

const (
	invalidSession = `401 {"code":1018,"msg":"登录状态已失效，请重新登录"}`
	noBearer       = `401 {"code":1018,"msg":"Authorization 请求头缺少 Bearer 前缀，格式为 Bearer <sessionId>"}`
	tooMany        = `429 {"code":1094,"msg":"请求过于频繁，请稍后再试"}`
)

func newTokens(now func() time.Time) *session.Tokens {
	return session.NewTokens([]string{strings.Repeat("a", 32)}, time.Hour, 24*time.Hour, now)
}

// request has credentials; empty ones are not sent.
type request struct{ header, cookie, body string }

func (q request) make() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(q.body))
	if q.header != "" {
		r.Header.Set("Authorization", q.header)
	}
	if q.cookie != "" {
		r.Header.Set("Cookie", "session_token="+q.cookie)
	}
	return r
}

// through sends q through the middlewares, the first outermost. It returns the user id that the
// route sees, or the refusal.
func through(q request, middlewares ...func(http.HandlerFunc) http.HandlerFunc) (userID int64, refusal string, h http.Header) {
	reached := false
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached = true
		userID = session.FromContext(r.Context()).Session.UserID
	})
	for i := len(middlewares) - 1; i >= 0; i-- {
		next = middlewares[i](next)
	}
	r := q.make()
	rec := httptest.NewRecorder()
	next(rec, r.WithContext(session.NewContext(r.Context(), &session.Call{})))
	if !reached {
		refusal = strconv.Itoa(rec.Code) + " " + rec.Body.String()
	}
	return userID, refusal, rec.Header()
}

func TestSession(t *testing.T) {
	now := time.Now()
	tokens := newTokens(func() time.Time { return now })
	one, _ := tokens.Issue(1, 1)
	two, _ := tokens.Issue(2, 2)
	three, _ := tokens.Issue(3, 3)
	inBody := func(token string) string { return `{"sessionID":"` + token + `"}` }
	const bad = "forged"

	for _, tt := range []struct {
		name     string
		q        request
		session  string // behind Session
		optional string // behind OptionalSession
		body     string // behind BodySession and Session
	}{
		// each: the user's id, "0" without a user, or the refusal
		{"none", request{}, invalidSession, "0", invalidSession},
		{"header", request{header: "Bearer " + one}, "1", "1", "1"},
		{"cookie", request{cookie: one}, "1", "1", "1"},
		{"body", request{body: inBody(one)}, invalidSession, "0", "1"},
		{"header before cookie", request{header: "Bearer " + one, cookie: two}, "1", "1", "1"},
		{"header before body", request{header: "Bearer " + one, body: inBody(three)}, "1", "1", "1"},
		{"cookie before body", request{cookie: two, body: inBody(three)}, "2", "2", "2"},
		{"all three", request{"Bearer " + one, two, inBody(three)}, "1", "1", "1"},
		{"an invalid header is not replaced", request{"Bearer " + bad, two, inBody(three)}, invalidSession, "0", invalidSession},
		{"an invalid cookie is not replaced", request{"", bad, inBody(three)}, invalidSession, "0", invalidSession},
		{"an invalid body", request{body: inBody(bad)}, invalidSession, "0", invalidSession},
		{"another scheme is no credential", request{"Basic " + one, two, ""}, "2", "2", "2"},
		{"no scheme", request{header: one}, noBearer, "0", noBearer},
		{"another scheme alone", request{header: "Basic " + one}, noBearer, "0", noBearer},
		{"no scheme, but a cookie", request{header: one, cookie: two}, "2", "2", "2"},
		{"no scheme, but a body", request{header: one, body: inBody(three)}, noBearer, "0", "3"},
		{"an empty sessionID", request{body: `{"sessionID":""}`}, invalidSession, "0", invalidSession},
		{"a sessionID that is null", request{body: `{"sessionID":null}`}, invalidSession, "0", invalidSession},
		{"an openid is no credential", request{"Bearer oABC", "", ""}, invalidSession, "0", invalidSession},
	} {
		t.Run(tt.name, func(t *testing.T) {
			credentials := newCredentials(tokens, allUsers)
			s := NewSessionMiddleware(credentials)
			got := []string{
				result(through(tt.q, s.Handle)),
				result(through(tt.q, NewOptionalSessionMiddleware(credentials).Handle)),
				result(through(tt.q, NewBodySessionMiddleware().Handle, s.Handle)),
			}
			if diff := cmp.Diff([]string{tt.session, tt.optional, tt.body}, got); diff != "" {
				t.Errorf("Session, OptionalSession, BodySession+Session (-want +got):\n%s", diff)
			}
		})
	}
}

func result(userID int64, refusal string, _ http.Header) string {
	if refusal != "" {
		return refusal
	}
	return strconv.Itoa(int(userID))
}

func TestUserLimit(t *testing.T) {
	tokens := newTokens(time.Now)
	quiet, _ := tokens.Issue(1, 1)
	wild, _ := tokens.Issue(2, 1)
	var asked []int64
	limit := users(func(id int64) bool {
		asked = append(asked, id)
		return id != 2
	})
	credentials := newCredentials(tokens, limit)
	for name, m := range map[string]func(http.HandlerFunc) http.HandlerFunc{
		"Session":         NewSessionMiddleware(credentials).Handle,
		"OptionalSession": NewOptionalSessionMiddleware(credentials).Handle,
	} {
		asked = nil
		if got := result(through(request{header: "Bearer " + quiet}, m)); got != "1" {
			t.Errorf("%s: %s", name, got)
		}
		_, got, h := through(request{header: "Bearer " + wild}, m)
		if got != tooMany || h.Get("Retry-After") != "1" {
			t.Errorf("%s: %s, Retry-After %q", name, got, h.Get("Retry-After"))
		}
		through(request{header: "Bearer forged"}, m) // has no user, so it is not counted
		if diff := cmp.Diff([]int64{1, 2}, asked); diff != "" {
			t.Errorf("%s: users counted (-want +got):\n%s", name, diff)
		}
	}
}

func newOauthLimit(take logins) *OauthLimitMiddleware {
	return &OauthLimitMiddleware{
		Logins:  take,
		Address: func(*http.Request) string { return "203.0.113.7" },
		Refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"}),
	}
}

func TestOauthLimit(t *testing.T) {
	for _, tt := range []struct {
		err        error
		want       string
		retryAfter string
	}{
		{nil, "0", ""},
		{reason.Error(reason.RateLimited, "retry_after", "3"), tooMany, "3"},
	} {
		m := newOauthLimit(func(key string) error {
			if key != "203.0.113.7" {
				t.Errorf("counted for %q", key)
			}
			return tt.err
		})
		id, refusal, h := through(request{body: `{"jscode":"x"}`}, m.Handle)
		if got := result(id, refusal, h); got != tt.want || h.Get("Retry-After") != tt.retryAfter {
			t.Errorf("%v: %s, Retry-After %q, want %s, %q", tt.err, got, h.Get("Retry-After"), tt.want, tt.retryAfter)
		}
		if got := testutil.ToFloat64(m.Refused); (got == 1) != (tt.err != nil) {
			t.Errorf("%v: %v refusals counted", tt.err, got)
		}
	}
}

// The AppID of a mini program comes from its Referer.
func TestClientAppID(t *testing.T) {
	for referer, want := range map[string]string{
		"https://servicewechat.com/wx0123456789abcdef/devtools/page-frame.html": "wx0123456789abcdef",
		"https://servicewechat.com/wx0123456789abcdef/0/page-frame.html":        "wx0123456789abcdef",
		"https://servicewechat.com/touristappid/12/page-frame.html":             "touristappid",
		"":                                    "",
		"https://servicewechat.com/":          "",
		"https://servicewechat.com/wx01\n/1/": "",
		"https://servicewechat.com/" + strings.Repeat("a", 33) + "/1/": "",
		"http://servicewechat.com/wx0123456789abcdef/1/":               "",
		"https://servicewechat.com.example.com/wx0123456789abcdef/1/":  "",
	} {
		r := request{body: `{"jscode":"x"}`}.make()
		r.Header.Set("Referer", referer)
		call := &session.Call{}
		r = r.WithContext(session.NewContext(r.Context(), call))
		m := newOauthLimit(func(string) error { return nil })
		m.Handle(func(http.ResponseWriter, *http.Request) {})(httptest.NewRecorder(), r)
		if call.ClientAppID != want {
			t.Errorf("%q: %q, want %q", referer, call.ClientAppID, want)
		}
	}
}

// The middleware reads the body, and the route can still read all of it.
func TestBodySessionLeavesTheBody(t *testing.T) {
	for _, q := range []request{
		{body: ` {"sessionID":"a","city":"b"} `},
		{header: "Bearer a", body: ` {"sessionID":"a","city":"b"} `},
	} {
		var got string
		NewBodySessionMiddleware().Handle(func(_ http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			got = string(b)
		})(httptest.NewRecorder(), q.make())
		if got != q.body {
			t.Errorf("%q, want %q", got, q.body)
		}
	}
}
