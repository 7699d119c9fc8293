package simulator_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shares/simulator"
)

// wechat is a simulator with a clock that tests advance.
type wechat struct {
	*simulator.Simulator
	now atomic.Int64 // unix nanoseconds
}

func newWeChat(opts simulator.Options) *wechat {
	w := &wechat{}
	w.now.Store(time.Date(2023, 10, 16, 8, 0, 0, 0, time.UTC).UnixNano())
	opts.Now = func() time.Time { return time.Unix(0, w.now.Load()) }
	w.Simulator = simulator.New(opts)
	return w
}

func (w *wechat) advance(d time.Duration) { w.now.Add(int64(d)) }

// reply is an answer with its request id separated.
type reply struct {
	status      int
	contentType string
	body        []byte
	errcode     int
	errmsg      string // without the request id
	rid         string // with its separator
}

var ridShape = regexp.MustCompile(`^(.*?)(,? rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8})$`)

func (w *wechat) do(t testing.TB, method, target, body string) reply {
	t.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	w.ServeHTTP(rec, r)
	return parseReply(rec.Result(), rec.Body.Bytes())
}

func parseReply(res *http.Response, body []byte) reply {
	a := reply{status: res.StatusCode, contentType: res.Header.Get("Content-Type"), body: body}
	var e struct {
		Errcode int
		Errmsg  string
	}
	if json.Unmarshal(a.body, &e) == nil {
		a.errcode, a.errmsg = e.Errcode, e.Errmsg
		if m := ridShape.FindStringSubmatch(e.Errmsg); m != nil {
			a.errmsg, a.rid = m[1], m[2]
		}
	}
	return a
}

func (a reply) fields(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("answer %q is not a JSON object: %v", a.body, err)
	}
	return m
}

func loginURL(code string) string {
	return "/sns/jscode2session?" + url.Values{
		"appid": {simulator.DefaultAppID}, "secret": {simulator.DefaultSecret},
		"js_code": {code}, "grant_type": {"authorization_code"},
	}.Encode()
}

func tokenBody(force bool) string {
	return fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q,"force_refresh":%t}`,
		simulator.DefaultAppID, simulator.DefaultSecret, force)
}

const plainTokenURL = "/cgi-bin/token?grant_type=client_credential&appid=" + simulator.DefaultAppID +
	"&secret=" + simulator.DefaultSecret

// token returns the access token of stable_token.
func (w *wechat) token(t testing.TB, force bool) string {
	t.Helper()
	token, _ := tokenOf(t, w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(force)))
	return token
}

// tokenOf returns a token and its remaining lifetime in seconds.
func tokenOf(t testing.TB, a reply) (string, int) {
	t.Helper()
	m := a.fields(t)
	token, _ := m["access_token"].(string)
	seconds, _ := m["expires_in"].(float64)
	if token == "" {
		t.Fatalf("no token in %s", a.body)
	}
	return token, int(seconds)
}

func qrURL(token string) string    { return "/wxa/getwxacodeunlimit?access_token=" + token }
func phoneURL(token string) string { return "/wxa/business/getuserphonenumber?access_token=" + token }
func textURL(token string) string  { return "/wxa/msg_sec_check?access_token=" + token }

func (w *wechat) mustLogin(t testing.TB, user string) {
	t.Helper()
	if a := w.do(t, "GET", loginURL(w.Code(user)), ""); a.errcode != 0 {
		t.Fatalf("login: %s", a.body)
	}
}

// textBody is the body of a content check.
func textBody(version int, openID string, scene int, content string) string {
	return fmt.Sprintf(`{"version":%d,"openid":%q,"scene":%d,"content":%q}`, version, openID, scene, content)
}

// refusal is a call that WeChat refuses. before, if any, runs before the call. In target and body,
// its result replaces ARG, a token of before it replaces TOKEN, and one of after it replaces LATER.
type refusal struct {
	name, method, target, body string
	code                       int
	before                     func(w *wechat) string
}

func TestErrorCodes(t *testing.T) {
	const (
		id     = simulator.DefaultAppID
		secret = simulator.DefaultSecret
		login  = "/sns/jscode2session?grant_type=authorization_code"
		stable = "/cgi-bin/stable_token"
	)
	replaced := func(old, new string) string { return strings.Replace(tokenBody(false), old, new, 1) }
	testRefusals(t, []refusal{
		{"login without appid", "GET", login, "", 41002, nil},
		{"login without secret", "GET", login + "&appid=" + id, "", 41004, nil},
		{"login of another app", "GET", login + "&appid=wx0&secret=" + secret + "&js_code=x", "", 40013, nil},
		{"login with another secret", "GET", login + "&appid=" + id + "&secret=x&js_code=x", "", 40125, nil},
		{"login without code", "GET", loginURL(""), "", 41008, nil},
		{"login with an unknown code", "GET", loginURL("0123456789abcdef0123456789ABCDEF"), "", 40029, nil},
		{"login with the mock code of DevTools", "GET", loginURL("the code is a mock one"), "", 40029, nil},
		{"stable token by GET", "GET", stable, "", 43002, nil},
		{"stable token with no body", "POST", stable, "", 44002, nil},
		{"stable token with half a body", "POST", stable, `{"appid":`, 47001, nil},
		{"stable token without appid", "POST", stable, `{}`, 41002, nil},
		{"stable token without secret", "POST", stable, `{"appid":"` + id + `"}`, 41004, nil},
		{"stable token of another app", "POST", stable, replaced(id, "wx0"), 40013, nil},
		{"stable token with another secret", "POST", stable, replaced(secret, "x"), 40125, nil},
		{"stable token with another grant", "POST", stable, replaced("client_credential", "x"), 40002, nil},
		{"token with another grant", "GET", strings.Replace(plainTokenURL, "client_credential", "x", 1), "", 40002, nil},
		{"token with another secret", "GET", plainTokenURL + "x", "", 40125, nil},
		{"no access token", "POST", qrURL(""), `{"scene":"a"}`, 41001, nil},
		{"malformed access token", "POST", phoneURL("abc"), `{"code":"a"}`, 40014, nil},
		{"unknown access token", "POST", textURL("77_" + strings.Repeat("a", 133)), `{}`, 40001, nil},
		{"code by GET", "GET", qrURL("TOKEN"), "", 43002, nil},
		{"code with no body", "POST", qrURL("TOKEN"), "", 44002, nil},
		{"code with no JSON", "POST", qrURL("TOKEN"), "scene=a", 47001, nil},
		{"code with a width in words", "POST", qrURL("TOKEN"), `{"scene":"a","width":"wide"}`, 47001, nil},
		{"code without scene", "POST", qrURL("TOKEN"), `{"page":"a"}`, 40169, nil},
		{"code with a number for scene", "POST", qrURL("TOKEN"), `{"scene":12}`, 40169, nil},
		{"code with a scene of 33", "POST", qrURL("TOKEN"), `{"scene":"` + strings.Repeat("a", 33) + `"}`, 40169, nil},
		{"code with % in the scene", "POST", qrURL("TOKEN"), `{"scene":"a%20b"}`, 40129, nil},
		{"code with Chinese in the scene", "POST", qrURL("TOKEN"), `{"scene":"场景"}`, 40129, nil},
		{"code with a leading slash", "POST", qrURL("TOKEN"), `{"scene":"a","page":"/pages/index/index"}`, 41030, nil},
		{"code with a query in the page", "POST", qrURL("TOKEN"), `{"scene":"a","page":"pages/index/index?a=1"}`, 41030, nil},
		{"code with a page too long", "POST", qrURL("TOKEN"), `{"scene":"a","page":"` + strings.Repeat("p", 1025) + `"}`, 41030, nil},
		{"code of an unpublished page", "POST", qrURL("TOKEN"), `{"scene":"a","page":"pages/other/other"}`, 41030, nil},
		{"code too narrow", "POST", qrURL("TOKEN"), `{"scene":"a","width":279}`, 40097, nil},
		{"code too wide", "POST", qrURL("TOKEN"), `{"scene":"a","width":1281}`, 40097, nil},
		{"code for an unknown version", "POST", qrURL("TOKEN"), `{"scene":"a","env_version":"beta"}`, 40097, nil},
		{"code with an empty color", "POST", qrURL("TOKEN"), `{"scene":"a","line_color":{"r":"","g":"","b":""}}`, 40097, nil},
		{"code with a color beyond 255", "POST", qrURL("TOKEN"), `{"scene":"a","line_color":{"r":256,"g":0,"b":0}}`, 40097, nil},
		{"phone with an unknown code", "POST", phoneURL("TOKEN"), `{"code":"x"}`, 40029, nil},
		{"phone with no JSON", "POST", phoneURL("TOKEN"), `code`, 47001, nil},
		{"text with no JSON", "POST", textURL("TOKEN"), `[]`, 47001, nil},
		{"text without an openid", "POST", textURL("TOKEN"), textBody(2, "alice", 1, "hello"), 40003, nil},
		{"unknown call", "POST", "/wxa/getwxacode", "{}", 40066, nil},
	})
}

func TestErrorCodesAfterOtherCalls(t *testing.T) {
	code := func(w *wechat) string { return w.Code("a") }
	phone := func(w *wechat) string { return w.PhoneCode("13800138000") }
	openID := func(w *wechat) string { w.do(t, "GET", loginURL(w.Code("a")), ""); return w.OpenID("a") }
	old := func(get func(*wechat) string, age time.Duration) func(*wechat) string {
		return func(w *wechat) string { defer w.advance(age); return get(w) }
	}
	testRefusals(t, []refusal{
		{"login with another grant", "GET", strings.Replace(loginURL("ARG"), "authorization_code", "code", 1), "", 40002, code},
		{"login with an old code", "GET", loginURL("ARG"), "", 40029, old(code, 5*time.Minute)},
		{"login with a used code", "GET", loginURL("ARG"), "", 40163, func(w *wechat) string {
			code := w.Code("a")
			w.do(t, "GET", loginURL(code), "")
			return code
		}},
		{"login of a blocked user", "GET", loginURL("ARG"), "", 40226, func(w *wechat) string { return w.Code("a", simulator.Blocked()) }},
		{"101st login of a user in a minute", "GET", loginURL("ARG"), "", 45011, func(w *wechat) string {
			for range 100 {
				w.mustLogin(t, "a")
			}
			w.mustLogin(t, "b")
			return w.Code("a")
		}},
		{"login by POST", "POST", loginURL("ARG"), "{}", 43001, code},
		{"rotated access token", "POST", qrURL("TOKEN"), `{"scene":"a"}`, 40001, func(w *wechat) string { w.RotateToken(); return "" }},
		{"expired access token", "POST", qrURL("TOKEN"), `{"scene":"a"}`, 42001, old(code, 2*time.Hour)},
		{"phone with a used code", "POST", phoneURL("TOKEN"), `{"code":"ARG"}`, 40029, func(w *wechat) string {
			code, token := phone(w), w.token(t, false)
			w.do(t, "POST", phoneURL(token), `{"code":"`+code+`"}`)
			return code
		}},
		{"phone with an old code", "POST", phoneURL("TOKEN"), `{"code":"ARG"}`, 40029, old(phone, 5*time.Minute)},
		{"phone with a code of another app", "POST", phoneURL("TOKEN"), `{"code":"ARG"}`, 40013,
			func(w *wechat) string { return w.AppPhoneCode("wx0", "13800138000") }},
		{"text of a user without a login", "POST", textURL("TOKEN"), textBody(2, "ARG", 1, "hello"), 61010,
			func(w *wechat) string { return w.OpenID("a") }},
		{"text of a user inactive for 2 hours", "POST", textURL("LATER"), textBody(2, "ARG", 1, "hello"), 61010, old(openID, 2*time.Hour)},
		{"text by version 1", "POST", textURL("TOKEN"), textBody(1, "ARG", 1, "hello"), 40097, openID},
		{"text of an unknown scene", "POST", textURL("TOKEN"), textBody(2, "ARG", 5, "hello"), 40097, openID},
		{"empty text", "POST", textURL("TOKEN"), textBody(2, "ARG", 1, ""), 44004, openID},
		{"text too long", "POST", textURL("TOKEN"), textBody(2, "ARG", 1, strings.Repeat("字", 2501)), 45002, openID},
	})
}

func testRefusals(t *testing.T, tests []refusal) {
	for _, tt := range tests {
		w := newWeChat(simulator.Options{Pages: []string{"pages/index/index"}})
		before, arg := w.token(t, false), ""
		if tt.before != nil {
			arg = tt.before(w)
		}
		fill := strings.NewReplacer("ARG", arg, "TOKEN", before, "LATER", w.token(t, false)).Replace
		got := w.do(t, tt.method, fill(tt.target), fill(tt.body))
		wantType, wantRID := "application/json; encoding=utf-8", fmt.Sprintf(" rid: %08x-", w.now.Load()/int64(time.Second))
		if strings.HasPrefix(tt.target, "/sns/") {
			wantType, wantRID = "text/plain", ","+wantRID
		}
		if got.status != 200 || got.errcode != tt.code || got.errmsg == "" || got.contentType != wantType || !strings.HasPrefix(got.rid, wantRID) {
			t.Errorf("%s: %d %s %s; want 200 %s %d and a request id after %q",
				tt.name, got.status, got.contentType, got.body, wantType, tt.code, wantRID)
		}
	}
}

func TestQuotas(t *testing.T) {
	w := newWeChat(simulator.Options{Limits: simulator.Limits{
		StableTokensPerMinute: 3, StableTokensPerDay: 6, TokensPerDay: 2,
		QRCodesPerMinute: 2, PhonesPerMinute: 2, TextsPerMinute: 2,
	}})
	w.mustLogin(t, "a")
	token := w.token(t, false)
	text := textBody(2, w.OpenID("a"), 1, "hello")
	tests := []struct {
		name                 string
		method, target, body string
		spent                int // calls that succeed
		code                 int
		window               time.Duration
	}{
		{"codes", "POST", qrURL(token), `{"scene":"a"}`, 2, 45009, time.Minute},
		{"phones", "POST", phoneURL(token), "", 2, 45011, time.Minute},
		{"texts", "POST", textURL(token), text, 2, 45009, time.Minute},
		{"stable tokens a minute", "POST", "/cgi-bin/stable_token", tokenBody(false), 3, 45009, time.Minute},
		{"stable tokens a day", "POST", "/cgi-bin/stable_token", tokenBody(false), 1, 45009, 24 * time.Hour},
		{"tokens a day", "GET", plainTokenURL, "", 2, 45009, 24 * time.Hour},
	}
	for _, tt := range tests { // in this order: each fills its window and advances the clock
		do := func() int {
			body := tt.body
			if tt.name == "phones" {
				body = `{"code":"` + w.PhoneCode("13800138000") + `"}`
			}
			return w.do(t, tt.method, tt.target, body).errcode
		}
		spent := 0
		for spent < 10 && do() == 0 {
			spent++
		}
		if got := do(); spent != tt.spent || got != tt.code {
			t.Errorf("%s: %d calls, then %d; want %d, then %d", tt.name, spent, got, tt.spent, tt.code)
		}
		w.advance(tt.window)
		if tt.window > time.Minute {
			w.token(t, false)
		}
		if got := do(); got != 0 {
			t.Errorf("%s: %d after the window, want success", tt.name, got)
		}
		w.advance(time.Minute)
	}
}

func TestLoginQuota(t *testing.T) {
	w := newWeChat(simulator.Options{Limits: simulator.Limits{LoginsPerUserMinute: 1}})
	w.mustLogin(t, "alice")
	code := w.Code("alice")
	if got := w.do(t, "GET", loginURL(code), ""); got.errcode != 45011 {
		t.Fatalf("errcode %d, want 45011", got.errcode)
	}
	w.advance(time.Minute)
	if got := w.do(t, "GET", loginURL(code), ""); got.errcode != 0 {
		t.Errorf("errcode %d a minute later, want the code to be unused", got.errcode)
	}
	unlimited := newWeChat(simulator.Options{Limits: simulator.Limits{LoginsPerUserMinute: -1}})
	for range 300 {
		unlimited.mustLogin(t, "a")
	}
}

func TestProxyRefusals(t *testing.T) {
	w := newWeChat(simulator.Options{})
	srv := httptest.NewServer(w)
	defer srv.Close()
	token := w.token(t, false)
	tests := []struct {
		name, target string
		body         io.Reader
		status       int
	}{
		{"chunked", qrURL(token), io.MultiReader(strings.NewReader(`{"scene":"a"}`)), http.StatusPreconditionFailed},
		{"chunked, before the token check", phoneURL(""), io.MultiReader(strings.NewReader(`{}`)), http.StatusPreconditionFailed},
		{"too large", qrURL(token), strings.NewReader(strings.Repeat(" ", 64<<10+1)), http.StatusRequestEntityTooLarge},
		{"largest body", qrURL(token), strings.NewReader(`{"scene":"a"}` + strings.Repeat(" ", 64<<10-13)), http.StatusOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := srv.Client().Post(srv.URL+tt.target, "application/json", tt.body)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
			if got := res.Header.Get("Content-Type"); tt.status != 200 && got != "text/html" {
				t.Errorf("content type %q, want the proxy's page", got)
			}
		})
	}
}
