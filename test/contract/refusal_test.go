package contract_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// refusal is a call that is always refused.
type refusal struct {
	name         string
	endpoint     string
	body         func(t *testing.T, s *setting) string
	anonymous    bool // without a session
	status, code int
}

func fixed(body string) func(*testing.T, *setting) string {
	return func(*testing.T, *setting) string { return body }
}

// refusals has one of each kind. Their texts in both languages are in testdata/errors.json.
var refusals = []refusal{
	{"body empty", oauth, fixed(""), true, 400, 1001},
	{"body malformed", oauth, fixed(`{"jscode":`), true, 400, 1001},
	{"body not an object", oauth, fixed(`["a"]`), true, 400, 1001},
	{"field missing", oauth, fixed(`{}`), true, 400, 1001},
	{"field of the wrong type", oauth, fixed(`{"jscode":1}`), true, 400, 1001},
	{"field in two cases", oauth, fixed(`{"jscode":"a","jsCode":"b"}`), true, 400, 1001},
	{"field too long", updateUserInfo, fixed(`{"city":"` + strings.Repeat("a", 65) + `"}`), false, 400, 1001},
	{"field with control characters", updateUserInfo, fixed(`{"city":"\u0007"}`), false, 400, 1001},
	{"gender unknown", updateUserInfo, fixed(`{"gender":"3"}`), false, 400, 1001},
	{"avatar temporary", updateUserInfo, fixed(`{"avatarURL":"wxfile://tmp_a.jpg"}`), false, 400, 1001},
	{"avatar not a URL", updateUserInfo, fixed(`{"avatarURL":"a.jpg"}`), false, 400, 1001},
	{"key unknown", upsetUserInfo, fixed(`{"key":"capacity","value":"9"}`), false, 400, 1001},
	{"switch neither true nor false", upsetUserInfo, fixed(`{"key":"rg","value":"1"}`), false, 400, 1001},
	{"phone not a number", upsetUserInfo, fixed(`{"key":"phone","value":"1"}`), false, 400, 1001},
	{"phone code refused", upsetUserInfo, fixed(`{"key":"phoneCode","value":"made-up"}`), false, 400, 1001},
	{"scene refused", getQrcode, fixed(`{"scene":"%"}`), false, 400, 1001},
	{"page refused", getQrcode, fixed(`{"page":"/a","scene":"a"}`), false, 400, 1001},
	{"login code unknown", oauth, fixed(loginBody("made-up")), true, 401, 1008},
	{"login code used", oauth, func(t *testing.T, s *setting) string {
		body := loginBody(s.code(t, t.Name()))
		s.post(t, oauth, body).ok(t)
		return body
	}, true, 401, 1008},
	{"no session", getUserInfo, fixed(`{}`), true, 401, 1018},
	{"user blocked", oauth, func(t *testing.T, s *setting) string { return loginBody(s.code(t, t.Name(), `"blocked":true`)) }, true, 403, 1080},
	{"no such path", "weixin.nothing", fixed(`{}`), true, 404, 1006},
	{"body too large", updateUserInfo, fixed(`{"pad":"` + strings.Repeat("a", 64<<10) + `"}`), false, 413, 1082},
	{"file not in a form", uploadAvatar, fixed(`{"file":"a.png"}`), false, 415, 1001},
	{"file missing", uploadAvatar, fixed(strings.ReplaceAll(form(nil), `"file"`, `"photo"`)), false, 400, 1001},
	{"file cut off", uploadAvatar, fixed(strings.SplitAfter(form([]byte("picture")), "picture")[0]), false, 400, 1001},
	{"file not a picture", uploadAvatar, fixed(form([]byte("text"))), false, 400, 1001},
	{"file with too many pixels", uploadAvatar, fixed(form(claimingPNG(60_000, 60_000))), false, 400, 1001},
	{"file too large", uploadAvatar, fixed(form(make([]byte, maxFile+1))), false, 413, 1082},
}

func testRefusals(t *testing.T, s *setting) {
	type texts struct {
		Status int    `json:"status"`
		Code   int    `json:"code"`
		Zh     string `json:"zh"`
		En     string `json:"en"`
	}
	all := map[string]texts{}
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			var options []option
			if !tt.anonymous {
				options = append(options, bearer(s.newUser(t).SessionID))
			}
			say := func(language string) string {
				body := tt.body(t, s)
				kind := "application/json"
				if strings.HasPrefix(body, "--"+boundary) {
					kind = formType
				}
				r := s.post(t, tt.endpoint, body, append(options, header("Content-Type", kind), header("Accept-Language", language))...)
				if len(r.Header["Set-Cookie"]) != 0 {
					t.Errorf("a refusal sets the cookie %q", r.Header["Set-Cookie"])
				}
				return r.refused(t, tt.status, tt.code)
			}
			answer := texts{tt.status, tt.code, say("zh-CN"), say("en")}
			all[tt.name] = answer
			if tt.name == "key unknown" { // later versions may have more keys
				zh, _, _ := strings.Cut(answer.Zh, ", language")
				en, _, _ := strings.Cut(answer.En, ", language")
				all[tt.name] = texts{tt.status, tt.code, zh + ", language", en + ", language"}
			}
			if answer.Zh == answer.En {
				t.Errorf("both languages have the text %q", answer.Zh)
			}
			for _, text := range []string{answer.Zh, answer.En} {
				if strings.ContainsAny(text, "{}") {
					t.Errorf("%q contains a placeholder", text)
				}
			}
		})
	}
	if t.Failed() {
		return
	}
	file, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var keepHTML bytes.Buffer // no \u003c, for readability
	enc := json.NewEncoder(&keepHTML)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(json.RawMessage(file)); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, s, "errors", bytes.TrimSpace(keepHTML.Bytes()))
}

func testMethodsAndPaths(t *testing.T, s *setting) {
	for _, endpoint := range []string{oauth, reLogin, updateUserInfo, upsetUserInfo, getQrcode, getUserInfo, uploadAvatar} {
		t.Run(endpoint, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
				r := s.do(t, method, prefix+endpoint, nil)
				r.refused(t, http.StatusMethodNotAllowed, 1006)
				if got := r.Header.Get("Allow"); got != http.MethodPost {
					t.Errorf("%s: Allow: got %q, want POST", method, got)
				}
			}
			want := http.StatusMethodNotAllowed
			if s.envelope {
				want = http.StatusOK
			}
			if r := s.do(t, http.MethodHead, prefix+endpoint, nil); r.StatusCode != want || len(r.raw) != 0 {
				t.Errorf("HEAD: status %d, %d bytes, want %d", r.StatusCode, len(r.raw), want)
			}
		})
	}
	t.Run("POST to a picture", func(t *testing.T) {
		path := s.path(t, s.newUser(t).qrcode(t, "pages/a", "method"))
		r := s.do(t, http.MethodPost, path, nil)
		r.refused(t, http.StatusMethodNotAllowed, 1006)
		if got := r.Header.Get("Allow"); !strings.Contains(got, "GET") || strings.Contains(got, "POST") {
			t.Errorf("Allow: got %q, want GET, HEAD", got)
		}
	})
	paths := []string{
		"/nothing", "/shares/api/v1", "/shares/api/v1/", "/shares/api/v1/weixin.", "/shares/api/v2/weixin.oauth", "/shares/api/v1/weixin.Oauth",
		"/shares/api/v1/weixin.oauth/more", "/metrics", "/healthz", "/debug/pprof/", "/shares/api/v1/%2e%2e/%2e%2e/etc/passwd",
		// Unclean paths are neither served nor redirected.
		"//shares/api/v1/weixin.oauth", "/shares/./api/v1/weixin.oauth", "/shares/api/../api/v1/weixin.oauth",
	}
	if !s.embedded() { // dev mode serves these
		paths = append(paths, "/", "/page/page.js", "/openapi.json", "/simulator/code")
	}
	for _, path := range paths {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			t.Run(method+" "+path, func(t *testing.T) {
				s.do(t, method, path, strings.NewReader(`{}`)).refused(t, http.StatusNotFound, 1006)
			})
		}
	}
	t.Run("the query is ignored", func(t *testing.T) {
		s.post(t, oauth+"?jscode="+s.code(t, t.Name()), `{}`).refused(t, http.StatusBadRequest, 1001, "jscode")
	})
	t.Run("request id", func(t *testing.T) {
		r := s.post(t, getUserInfo, `{}`, header("X-Request-Id", "of-the.client_1"))
		r.refused(t, http.StatusUnauthorized, 1018)
		if got := r.Header.Get("X-Request-Id"); got != "of-the.client_1" {
			t.Errorf("X-Request-Id: got %q, want the client's", got)
		}
		r = s.post(t, getUserInfo, `{}`, header("X-Request-Id", "no good{}"))
		id := r.Header.Get("X-Request-Id")
		if id == "" || strings.Contains(id, "{") {
			t.Errorf("X-Request-Id: got %q, want a new id", id)
		}
		// The line is written after the answer.
		waitUntil(t, "the log has the request id", func() bool { return strings.Contains(s.edge.Output(), id) })
	})
}

func testBodies(t *testing.T, s *setting) {
	const (
		asJSON = "application/json"
		object = `{"key":"rg","value":"true"}`
	)
	for name, tt := range map[string]struct {
		contentType  string
		body         string
		status, code int // 0: the call succeeds
	}{
		"JSON, type in capitals":   {"Application/JSON;charset=UTF-8", object, 0, 0},
		"without a type":           {"", object, 0, 0},
		"white space around":       {asJSON, "\ufeff \n\t" + object + "\r\n ", 0, 0},
		"unknown fields":           {asJSON, `{"isDebug":true,"hexinv":"1.2","deep":{"key":[1,2,{}]},"key":"rg","value":"true"}`, 0, 0},
		"names in capitals":        {asJSON, `{"KEY":"rg","Value":"true"}`, 0, 0},
		"form that is JSON":        {"application/x-www-form-urlencoded", object, 415, 1001},
		"multipart":                {formType, form(nil, "key", "rg"), 415, 1001},
		"text":                     {"text/plain; charset=utf-8", object, 415, 1001},
		"empty":                    {asJSON, "", 400, 1001},
		"array":                    {asJSON, `[` + object + `]`, 400, 1001},
		"two objects":              {asJSON, object + object, 400, 1001},
		"a duplicate name":         {asJSON, `{"key":"rg","\u006bey":"only20","value":"true"}`, 400, 1001},
		"invalid UTF-8":            {asJSON, "{\"key\":\"rg\xff\",\"value\":\"true\"}", 400, 1001},
		"an object for a string":   {asJSON, `{"key":{},"value":"true"}`, 400, 1001},
		"nested too deep":          {asJSON, `{"a":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `,"key":"rg","value":"true"}`, 400, 1001},
		"64 KiB":                   {asJSON, padded(64 << 10), 0, 0},
		"one byte more":            {asJSON, padded(64<<10 + 1), 413, 1082},
		"a megabyte":               {asJSON, padded(1 << 20), 413, 1082},
		"a form that is too large": {"application/x-www-form-urlencoded", strings.Repeat("x", 64<<10+1), 415, 1001},
	} {
		t.Run(name, func(t *testing.T) {
			u := s.newUser(t)
			for _, chunked := range []bool{false, true} {
				options := []option{bearer(u.SessionID)}
				if tt.contentType != "" {
					options = append(options, header("Content-Type", tt.contentType))
				}
				r := s.do(t, http.MethodPost, prefix+upsetUserInfo, bodyOf(tt.body, chunked), options...)
				if tt.status == 0 {
					r.ok(t, &struct{}{})
				} else {
					r.refused(t, tt.status, tt.code)
				}
				// The connection can be used for the next request.
				u.has(t, fresh())
			}
		})
	}

	t.Run("optional", func(t *testing.T) {
		u := s.newUser(t)
		for _, endpoint := range []string{getUserInfo, reLogin} {
			s.do(t, http.MethodPost, prefix+endpoint, nil, bearer(u.SessionID)).ok(t)
			u.post(t, endpoint, ` { "isDebug":true } `).ok(t)
			u.post(t, endpoint, `[]`).refused(t, http.StatusBadRequest, 1001)
			u.post(t, endpoint, `a=b`, header("Content-Type", "application/x-www-form-urlencoded")).refused(t, http.StatusUnsupportedMediaType, 1001)
			u.post(t, endpoint, padded(64<<10+1)).refused(t, http.StatusRequestEntityTooLarge, 1082)
		}
	})

	t.Run("Content-Length too large", func(t *testing.T) {
		s.connect(t, oauth, "Content-Type: application/json\r\nContent-Length: 1000000000").answer(t).refused(t, http.StatusRequestEntityTooLarge, 1082)
	})

	t.Run("a very long login code", func(t *testing.T) {
		// The client's error must not count for WeChat's circuit breaker.
		r := s.post(t, oauth, loginBody(strings.Repeat("a", 60_000)))
		if code, text, err := r.refusal(); err != nil || code != 1001 && code != 1008 {
			t.Errorf("status %d, code %d (%s), %v, want 1001 or 1008", r.StatusCode, code, text, err)
		}
	})
	t.Run("a login code with special characters", func(t *testing.T) {
		for _, code := range []string{"a b", "a&js_code=b", "茅台", "a\x00b", "a\nb", "%00", "../.."} {
			s.post(t, oauth, loginBody(code)).refused(t, http.StatusUnauthorized, 1008)
		}
	})
}

// padded returns an object of n bytes that sets rg.
func padded(n int) string {
	const start, end = `{"key":"rg","value":"true","pad":"`, `"}`
	return start + strings.Repeat("a", n-len(start)-len(end)) + end
}

func testOrigins(t *testing.T, s *setting) {
	dev := s.embedded()
	preflight := func(origin string) reply {
		return s.do(t, http.MethodOptions, prefix+oauth, nil, header("Origin", origin),
			header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "authorization,content-type"))
	}
	for _, origin := range []string{"http://localhost:5173", "http://127.0.0.1:8080", "http://192.168.1.7:3000", "http://10.0.0.1", "http://[::1]:3000"} {
		t.Run(origin, func(t *testing.T) {
			want := ""
			if dev {
				want = origin
			}
			if got := preflight(origin).Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("Access-Control-Allow-Origin %q, want %q", got, want)
			}
		})
	}
	if dev {
		// DNS rebinding: the browser treats the page and this service as one origin.
		rebound := []option{header("Origin", "http://evil.example"), func(r *http.Request) { r.Host = "evil.example" }}
		for path, method := range map[string]string{"/": http.MethodGet, "/simulator/stats": http.MethodGet,
			"/simulator/code": http.MethodPost, prefix + reLogin: http.MethodPost} {
			s.do(t, method, path, nil, rebound...).refused(t, http.StatusForbidden, 1080, "SHARES_PUBLIC_URL")
		}
	}
	// WeChat for Windows and Mac and DevTools send these headers and no Origin.
	s.post(t, oauth, loginBody(s.code(t, t.Name())), header("Sec-Fetch-Site", "cross-site"), header("xweb_xhr", "1"),
		header("Referer", "https://servicewechat.com/wx0123456789abcdef/42/page-frame.html")).ok(t)
	for _, origin := range []string{"https://evil.example", "http://localhost.evil.example", "http://8.8.8.8", "null"} {
		t.Run(origin, func(t *testing.T) {
			if got := preflight(origin).Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("Access-Control-Allow-Origin %q", got)
			}
			u := s.newUser(t)
			r := s.post(t, oauth, loginBody(s.code(t, t.Name())), header("Origin", origin))
			r.refused(t, http.StatusForbidden, 1080)
			if r.sessionCookie() != nil {
				t.Error("a page of another origin logged its visitor in")
			}
			s.post(t, upsetUserInfo, `{"key":"rg","value":"false"}`, cookie(u.SessionID), header("Origin", origin)).refused(t, http.StatusForbidden, 1080)
			for _, cookies := range [][]option{{cookie(u.SessionID)}, nil} {
				r := s.post(t, reLogin, ``, append(cookies, header("Origin", origin))...)
				r.refused(t, http.StatusForbidden, 1080)
				if r.sessionCookie() != nil {
					t.Error("a page of another origin changed its visitor's cookie")
				}
			}
			u.has(t, fresh())
		})
	}
}
