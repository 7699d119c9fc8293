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

	"github.com/google/go-cmp/cmp"

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

func (w *wechat) token(t testing.TB, force bool) (string, int) {
	t.Helper()
	return tokenOf(t, w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(force)))
}

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

// errorMessages are the texts that WeChat sends with its error codes.
var errorMessages = map[int]string{
	40001: "invalid credential, access_token is invalid or not latest",
	40002: "invalid grant_type",
	40003: "invalid openid",
	40013: "invalid appid",
	40014: "invalid access_token",
	40029: "invalid code",
	40066: "invalid url",
	40097: "invalid args",
	40125: "invalid appsecret",
	40129: "invalid scene",
	40163: "code been used",
	40169: "invalid length for scene, or the data is not json string",
	40226: "code blocked",
	41001: "access_token missing",
	41002: "appid missing",
	41004: "appsecret missing",
	41008: "missing code",
	41030: "invalid page",
	42001: "access_token expired",
	43001: "require GET method",
	43002: "require POST method",
	44002: "empty post data",
	44004: "empty content",
	45002: "content size out of limit",
	45011: "api minute-quota reach limit, must slower, retry next minute",
	47001: "data format error",
	61010: "code is expired",
}

// openIDOf logs the user in and returns the openid.
func (w *wechat) openIDOf(t *testing.T, user string) string {
	w.mustLogin(t, user)
	return w.OpenID(user)
}

// textBody is the body of a content check.
func textBody(version, openID, scene, content string) string {
	return fmt.Sprintf(`{"version":%s,"openid":%q,"scene":%s,"content":%q}`, version, openID, scene, content)
}

// checkError checks the whole answer to a refused call.
func (w *wechat) checkError(t *testing.T, name, method, target, body string, code int) {
	t.Helper()
	got := w.do(t, method, target, body)
	wantType, wantSep := "application/json; encoding=utf-8", " rid: "
	if strings.HasPrefix(target, "/sns/") {
		wantType, wantSep = "text/plain", ", rid: "
	}
	wantRID := fmt.Sprintf("%s%08x-", wantSep, w.now.Load()/int64(time.Second))
	if got.status != 200 || got.errcode != code || got.errmsg != errorMessages[code] ||
		got.contentType != wantType || !strings.HasPrefix(got.rid, wantRID) {
		t.Errorf("%s: %s %s: %d %s %s; want 200 %s %d %q and a request id after %q",
			name, method, target, got.status, got.contentType, got.body, wantType, code, errorMessages[code], wantRID)
	}
}

func TestErrorCodes(t *testing.T) {
	const (
		id     = simulator.DefaultAppID
		secret = simulator.DefaultSecret
		login  = "/sns/jscode2session?grant_type=authorization_code"
	)
	w := newWeChat(simulator.Options{Pages: []string{"pages/index/index"}})
	valid, _ := w.token(t, false)
	for _, tt := range []struct {
		name, method, target, body string
		code                       int
	}{
		{"login without appid", "GET", login, "", 41002},
		{"login without secret", "GET", login + "&appid=" + id, "", 41004},
		{"login of another app", "GET", login + "&appid=wx0&secret=" + secret + "&js_code=x", "", 40013},
		{"login with another secret", "GET", login + "&appid=" + id + "&secret=x&js_code=x", "", 40125},
		{"login without code", "GET", loginURL(""), "", 41008},
		{"login with an unknown code", "GET", loginURL("0123456789abcdef0123456789ABCDEF"), "", 40029},
		{"login with the mock code of DevTools", "GET", loginURL("the code is a mock one"), "", 40029},
		{"stable token by GET", "GET", "/cgi-bin/stable_token", "", 43002},
		{"stable token with no body", "POST", "/cgi-bin/stable_token", "", 44002},
		{"stable token with half a body", "POST", "/cgi-bin/stable_token", `{"appid":`, 47001},
		{"stable token without appid", "POST", "/cgi-bin/stable_token", `{}`, 41002},
		{"stable token without secret", "POST", "/cgi-bin/stable_token", `{"appid":"` + id + `"}`, 41004},
		{"stable token of another app", "POST", "/cgi-bin/stable_token", strings.Replace(tokenBody(false), id, "wx0", 1), 40013},
		{"stable token with another secret", "POST", "/cgi-bin/stable_token", strings.Replace(tokenBody(false), secret, "x", 1), 40125},
		{"stable token with another grant", "POST", "/cgi-bin/stable_token", strings.Replace(tokenBody(false), "client_credential", "x", 1), 40002},
		{"token with another grant", "GET", strings.Replace(plainTokenURL, "client_credential", "x", 1), "", 40002},
		{"token with another secret", "GET", plainTokenURL + "x", "", 40125},
		{"no access token", "POST", qrURL(""), `{"scene":"a"}`, 41001},
		{"malformed access token", "POST", phoneURL("abc"), `{"code":"a"}`, 40014},
		{"unknown access token", "POST", textURL("77_" + strings.Repeat("a", 133)), `{}`, 40001},
		{"code by GET", "GET", qrURL("TOKEN"), "", 43002},
		{"code with no body", "POST", qrURL("TOKEN"), "", 44002},
		{"code with no JSON", "POST", qrURL("TOKEN"), "scene=a", 47001},
		{"code with a width in words", "POST", qrURL("TOKEN"), `{"scene":"a","width":"wide"}`, 47001},
		{"code without scene", "POST", qrURL("TOKEN"), `{"page":"a"}`, 40169},
		{"code with a number for scene", "POST", qrURL("TOKEN"), `{"scene":12}`, 40169},
		{"code with a scene of 33", "POST", qrURL("TOKEN"), `{"scene":"` + strings.Repeat("a", 33) + `"}`, 40169},
		{"code with % in the scene", "POST", qrURL("TOKEN"), `{"scene":"a%20b"}`, 40129},
		{"code with Chinese in the scene", "POST", qrURL("TOKEN"), `{"scene":"场景"}`, 40129},
		{"code with a leading slash", "POST", qrURL("TOKEN"), `{"scene":"a","page":"/pages/index/index"}`, 41030},
		{"code with a query in the page", "POST", qrURL("TOKEN"), `{"scene":"a","page":"pages/index/index?a=1"}`, 41030},
		{"code with a page too long", "POST", qrURL("TOKEN"), `{"scene":"a","page":"` + strings.Repeat("p", 1025) + `"}`, 41030},
		{"code of an unpublished page", "POST", qrURL("TOKEN"), `{"scene":"a","page":"pages/other/other"}`, 41030},
		{"code too narrow", "POST", qrURL("TOKEN"), `{"scene":"a","width":279}`, 40097},
		{"code too wide", "POST", qrURL("TOKEN"), `{"scene":"a","width":1281}`, 40097},
		{"code for an unknown version", "POST", qrURL("TOKEN"), `{"scene":"a","env_version":"beta"}`, 40097},
		{"code with an empty color", "POST", qrURL("TOKEN"), `{"scene":"a","line_color":{"r":"","g":"","b":""}}`, 40097},
		{"code with a color beyond 255", "POST", qrURL("TOKEN"), `{"scene":"a","line_color":{"r":256,"g":0,"b":0}}`, 40097},
		{"phone with an unknown code", "POST", phoneURL("TOKEN"), `{"code":"x"}`, 40029},
		{"phone with no JSON", "POST", phoneURL("TOKEN"), `code`, 47001},
		{"text with no JSON", "POST", textURL("TOKEN"), `[]`, 47001},
		{"text without an openid", "POST", textURL("TOKEN"), textBody("2", "alice", "1", "hello"), 40003},
		{"unknown call", "POST", "/wxa/getwxacode", "{}", 40066},
	} {
		w.checkError(t, tt.name, tt.method, strings.Replace(tt.target, "TOKEN", valid, 1), tt.body, tt.code)
	}
}

func TestErrorCodesAfterOtherCalls(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(w *wechat, token string) (method, target, body string)
		code int
	}{
		{"login with another grant", func(w *wechat, _ string) (string, string, string) {
			return "GET", strings.Replace(loginURL(w.Code("a")), "authorization_code", "code", 1), ""
		}, 40002},
		{"login with an old code", func(w *wechat, _ string) (string, string, string) {
			code := w.Code("a")
			w.advance(5 * time.Minute)
			return "GET", loginURL(code), ""
		}, 40029},
		{"login with a used code", func(w *wechat, _ string) (string, string, string) {
			code := w.Code("a")
			w.do(t, "GET", loginURL(code), "")
			return "GET", loginURL(code), ""
		}, 40163},
		{"login of a blocked user", func(w *wechat, _ string) (string, string, string) {
			return "GET", loginURL(w.Code("a", simulator.Blocked())), ""
		}, 40226},
		{"101st login of a user in a minute", func(w *wechat, _ string) (string, string, string) {
			for range 100 {
				w.mustLogin(t, "a")
			}
			w.mustLogin(t, "b")
			return "GET", loginURL(w.Code("a")), ""
		}, 45011},
		{"login by POST", func(w *wechat, _ string) (string, string, string) {
			return "POST", loginURL(w.Code("a")), "{}"
		}, 43001},
		{"rotated access token", func(w *wechat, token string) (string, string, string) {
			w.RotateToken()
			return "POST", qrURL(token), `{"scene":"a"}`
		}, 40001},
		{"expired access token", func(w *wechat, token string) (string, string, string) {
			w.advance(2 * time.Hour)
			return "POST", qrURL(token), `{"scene":"a"}`
		}, 42001},
		{"phone with a used code", func(w *wechat, token string) (string, string, string) {
			body := `{"code":"` + w.PhoneCode("13800138000") + `"}`
			w.do(t, "POST", phoneURL(token), body)
			return "POST", phoneURL(token), body
		}, 40029},
		{"phone with an old code", func(w *wechat, token string) (string, string, string) {
			body := `{"code":"` + w.PhoneCode("13800138000") + `"}`
			w.advance(5 * time.Minute)
			return "POST", phoneURL(token), body
		}, 40029},
		{"phone with a code of another app", func(w *wechat, token string) (string, string, string) {
			return "POST", phoneURL(token), `{"code":"` + w.AppPhoneCode("wx0", "13800138000") + `"}`
		}, 40013},
		{"text of a user without a login", func(w *wechat, token string) (string, string, string) {
			return "POST", textURL(token), textBody("2", w.OpenID("a"), "1", "hello")
		}, 61010},
		{"text of a user inactive for 2 hours", func(w *wechat, _ string) (string, string, string) {
			openID := w.openIDOf(t, "a")
			w.advance(2 * time.Hour)
			token, _ := w.token(t, false)
			return "POST", textURL(token), textBody("2", openID, "1", "hello")
		}, 61010},
		{"text by version 1", func(w *wechat, token string) (string, string, string) {
			return "POST", textURL(token), textBody("1", w.openIDOf(t, "a"), "1", "hello")
		}, 40097},
		{"text of an unknown scene", func(w *wechat, token string) (string, string, string) {
			return "POST", textURL(token), textBody("2", w.openIDOf(t, "a"), "5", "hello")
		}, 40097},
		{"empty text", func(w *wechat, token string) (string, string, string) {
			return "POST", textURL(token), textBody("2", w.openIDOf(t, "a"), "1", "")
		}, 44004},
		{"text too long", func(w *wechat, token string) (string, string, string) {
			return "POST", textURL(token), textBody("2", w.openIDOf(t, "a"), "1", strings.Repeat("字", 2501))
		}, 45002},
	} {
		w := newWeChat(simulator.Options{})
		token, _ := w.token(t, false)
		method, target, body := tt.call(w, token)
		w.checkError(t, tt.name, method, target, body, tt.code)
	}
}

func TestQuotas(t *testing.T) {
	w := newWeChat(simulator.Options{Limits: simulator.Limits{
		StableTokensPerMinute: 3, StableTokensPerDay: 6, TokensPerDay: 2,
		QRCodesPerMinute: 2, PhonesPerMinute: 2, TextsPerMinute: 2,
	}})
	w.mustLogin(t, "a")
	token, _ := w.token(t, false)
	text := fmt.Sprintf(`{"version":2,"openid":%q,"scene":1,"content":"hello"}`, w.OpenID("a"))
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

func TestNoQuota(t *testing.T) {
	w := newWeChat(simulator.Options{Limits: simulator.Limits{LoginsPerUserMinute: -1}})
	for range 300 {
		w.mustLogin(t, "a")
	}
}

func TestProxyRefusals(t *testing.T) {
	w := newWeChat(simulator.Options{})
	srv := httptest.NewServer(w)
	defer srv.Close()
	token, _ := w.token(t, false)
	tests := []struct {
		name, target string
		body         io.Reader
		status       int
	}{
		{"chunked", qrURL(token), io.MultiReader(strings.NewReader(`{"scene":"a"}`)), http.StatusPreconditionFailed},
		{"chunked, before the token check", phoneURL(""), io.MultiReader(strings.NewReader(`{}`)), http.StatusPreconditionFailed},
		{"too large", qrURL(token), strings.NewReader(strings.Repeat(" ", 64<<10+1)), http.StatusRequestEntityTooLarge},
		{"too large and chunked", qrURL(token), io.MultiReader(strings.NewReader(strings.Repeat(" ", 64<<10+1))), http.StatusRequestEntityTooLarge},
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

func TestCalls(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token, _ := w.token(t, false)
	w.do(t, "GET", "/cgi-bin/stable_token", "")
	w.SetFault(w.Endpoints()[0], simulator.Fault{Kind: simulator.FaultServerError, Times: 1})
	w.do(t, "GET", "/cgi-bin/stable_token", "")
	w.do(t, "POST", qrURL(token), `{"scene":"a"}`)
	w.do(t, "GET", "/wxa/unknown", "")
	w.do(t, "GET", "/simulator/stats", "")
	want := map[string]int{"/cgi-bin/stable_token": 3, "/wxa/getwxacodeunlimit": 1}
	if diff := cmp.Diff(want, w.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
