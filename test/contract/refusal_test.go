package contract_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"testing"
)

// refusal is a call that is refused whenever it is made.
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

// refusals are one of each kind; their texts are in testdata/errors.json, in both languages.
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
	{"avatar no URL", updateUserInfo, fixed(`{"avatarURL":"a.jpg"}`), false, 400, 1001},
	{"key unknown", upsetUserInfo, fixed(`{"key":"capacity","value":"9"}`), false, 400, 1001},
	{"switch neither true nor false", upsetUserInfo, fixed(`{"key":"rg","value":"1"}`), false, 400, 1001},
	{"phone no number", upsetUserInfo, fixed(`{"key":"phone","value":"1"}`), false, 400, 1001},
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
	{"file in no form", uploadAvatar, fixed(`{"file":"a.png"}`), false, 415, 1001},
	{"file missing", uploadAvatar, fixed(strings.ReplaceAll(form(nil), `"file"`, `"photo"`)), false, 400, 1001},
	{"file cut off", uploadAvatar, fixed(strings.SplitAfter(form([]byte("picture")), "picture")[0]), false, 400, 1001},
	{"file no picture", uploadAvatar, fixed(form([]byte("text"))), false, 400, 1001},
	{"file of too many pixels", uploadAvatar, fixed(form(claimingPNG(60_000, 60_000))), false, 400, 1001},
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
			if tt.name == "key unknown" { // more keys may follow the last one in testdata
				zh, _, _ := strings.Cut(answer.Zh, ", language")
				en, _, _ := strings.Cut(answer.En, ", language")
				all[tt.name] = texts{tt.status, tt.code, zh + ", language", en + ", language"}
			}
			// What browsers, WeChat and others send for the two languages, and for neither.
			for language, want := range map[string]string{
				"":                        answer.Zh,
				"zh-CN,zh;q=0.9,en;q=0.8": answer.Zh,
				"fr":                      answer.Zh,
				"nonsense;;":              answer.Zh,
				"en-US,en;q=0.9,zh;q=0.8": answer.En,
				"en-GB":                   answer.En,
				"zh;q=0.1, en":            answer.En,
			} {
				if tt.name == "no session" || tt.name == "field missing" {
					if got := say(language); got != want {
						t.Errorf("Accept-Language %q: %q, want %q", language, got, want)
					}
				}
			}
			if answer.Zh == answer.En {
				t.Errorf("one text for two languages: %q", answer.Zh)
			}
			for _, text := range []string{answer.Zh, answer.En} {
				if strings.ContainsAny(text, "{}") {
					t.Errorf("a placeholder is left in %q", text)
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
	var keepHTML bytes.Buffer // no \u003c in a file for people
	enc := json.NewEncoder(&keepHTML)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(json.RawMessage(file)); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, s, "errors", bytes.TrimSpace(keepHTML.Bytes()))
}

func testMethodsAndPaths(t *testing.T, s *setting) {
	for _, endpoint := range []string{oauth, reLogin, updateUserInfo, upsetUserInfo, getQrcode, getUserInfo, uploadAvatar} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
			t.Run(method+" "+endpoint, func(t *testing.T) {
				r := s.do(t, method, prefix+endpoint, nil)
				r.refused(t, http.StatusMethodNotAllowed, 1006)
				if got := r.Header.Get("Allow"); got != http.MethodPost {
					t.Errorf("Allow is %q, want POST", got)
				}
			})
		}
		t.Run("HEAD "+endpoint, func(t *testing.T) {
			want := http.StatusMethodNotAllowed
			if s.envelope {
				want = http.StatusOK
			}
			if r := s.do(t, http.MethodHead, prefix+endpoint, nil); r.StatusCode != want || len(r.raw) != 0 {
				t.Errorf("status %d, %d bytes, want %d", r.StatusCode, len(r.raw), want)
			}
		})
	}
	t.Run("POST to a picture", func(t *testing.T) {
		path := s.path(t, s.newUser(t).qrcode(t, "pages/a", "method"))
		r := s.do(t, http.MethodPost, path, nil)
		r.refused(t, http.StatusMethodNotAllowed, 1006)
		if got := r.Header.Get("Allow"); !strings.Contains(got, "GET") || strings.Contains(got, "POST") {
			t.Errorf("Allow is %q, want GET, HEAD", got)
		}
	})
	for _, path := range []string{
		"/nothing", "/shares/api/v1", "/shares/api/v1/", "/shares/api/v1/weixin.", "/shares/api/v2/weixin.oauth", "/shares/api/v1/weixin.Oauth",
		"/shares/api/v1/weixin.oauth/more", "/metrics", "/healthz", "/debug/pprof/", "/shares/api/v1/%2e%2e/%2e%2e/etc/passwd",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			t.Run(method+" "+path, func(t *testing.T) {
				s.do(t, method, path, strings.NewReader(`{}`)).refused(t, http.StatusNotFound, 1006)
			})
		}
	}
	t.Run("simulator", func(t *testing.T) {
		if s.control == s.base {
			return // embedded: served there on purpose
		}
		s.do(t, http.MethodPost, "/simulator/code", strings.NewReader(`{"user":"mallory"}`)).refused(t, http.StatusNotFound, 1006)
	})
	for _, path := range []string{"//shares/api/v1/weixin.oauth", "/shares/./api/v1/weixin.oauth", "/shares/api/../api/v1/weixin.oauth"} {
		t.Run("unclean "+path, func(t *testing.T) {
			// Neither served under a second name nor redirected by a router that has its own form of answers.
			s.do(t, http.MethodPost, path, strings.NewReader(`{}`)).refused(t, http.StatusNotFound, 1006)
		})
	}
	t.Run("query is no input", func(t *testing.T) {
		s.post(t, oauth+"?jscode="+s.code(t, t.Name()), `{}`).refused(t, http.StatusBadRequest, 1001, "jscode")
	})
	t.Run("request id", func(t *testing.T) {
		r := s.post(t, getUserInfo, `{}`, header("X-Request-Id", "of-the.client_1"))
		r.refused(t, http.StatusUnauthorized, 1018)
		if got := r.Header.Get("X-Request-Id"); got != "of-the.client_1" {
			t.Errorf("X-Request-Id %q, want the client's own", got)
		}
		r = s.post(t, getUserInfo, `{}`, header("X-Request-Id", "no good{}"))
		id := r.Header.Get("X-Request-Id")
		if id == "" || strings.Contains(id, "{") {
			t.Errorf("X-Request-Id %q, want a fresh one", id)
		}
		// The line comes after the answer.
		waitUntil(t, "the log names the request", func() bool { return strings.Contains(s.edge.Output(), id) })
	})
}

func testBodies(t *testing.T, s *setting) {
	const asJSON = "application/json"
	var form bytes.Buffer
	fields := multipart.NewWriter(&form)
	if err := fields.WriteField("key", "rg"); err != nil {
		t.Fatal(err)
	}
	if err := fields.Close(); err != nil {
		t.Fatal(err)
	}
	const object = `{"key":"rg","value":"true"}`

	for name, tt := range map[string]struct {
		contentType  string
		body         string
		status, code int // 0 is a call that goes well
	}{
		"JSON":                           {asJSON, object, 0, 0},
		"JSON with charset":              {"application/json; charset=utf-8", object, 0, 0},
		"JSON, type in capitals":         {"Application/JSON;charset=UTF-8", object, 0, 0},
		"without a type":                 {"", object, 0, 0},
		"white space around":             {asJSON, " \n\t" + object + "\r\n ", 0, 0},
		"unknown fields":                 {asJSON, `{"isDebug":true,"hexinv":"1.2","deep":{"key":[1,2,{}]},"key":"rg","value":"true"}`, 0, 0},
		"escaped names":                  {asJSON, `{"\u006bey":"rg","value":"tr\u0075e"}`, 0, 0},
		"form":                           {"application/x-www-form-urlencoded", "key=rg&value=true", 415, 1001},
		"form that is JSON":              {"application/x-www-form-urlencoded", object, 415, 1001},
		"multipart":                      {fields.FormDataContentType(), form.String(), 415, 1001},
		"text":                           {"text/plain", object, 415, 1001},
		"text with charset":              {"text/plain; charset=utf-8", object, 415, 1001},
		"XML":                            {"application/xml", "<key/>", 415, 1001},
		"nonsense for a type":            {";;;", object, 415, 1001},
		"empty":                          {asJSON, "", 400, 1001},
		"empty without a type":           {"", "", 400, 1001},
		"white space":                    {asJSON, "  \n", 400, 1001},
		"null":                           {asJSON, `null`, 400, 1001},
		"array":                          {asJSON, `[` + object + `]`, 400, 1001},
		"string":                         {asJSON, `"key"`, 400, 1001},
		"number":                         {asJSON, `1`, 400, 1001},
		"half":                           {asJSON, object[:len(object)/2], 400, 1001},
		"no JSON":                        {asJSON, "key=rg", 400, 1001},
		"two objects":                    {asJSON, object + object, 400, 1001},
		"something behind":               {asJSON, object + "x", 400, 1001},
		"a name twice":                   {asJSON, `{"key":"rg","key":"only20","value":"true"}`, 400, 1001},
		"a name twice, once escaped":     {asJSON, `{"key":"rg","\u006bey":"only20","value":"true"}`, 400, 1001},
		"an unknown name twice":          {asJSON, `{"a":1,"a":2,"key":"rg","value":"true"}`, 400, 1001},
		"names in capitals":              {asJSON, `{"KEY":"rg","Value":"true"}`, 0, 0},
		"a name in two cases":            {asJSON, `{"key":"rg","Key":"only20","value":"true"}`, 400, 1001},
		"a comment":                      {asJSON, `{/**/"key":"rg","value":"true"}`, 400, 1001},
		"a comma at the end":             {asJSON, `{"key":"rg","value":"true",}`, 400, 1001},
		"single quotes":                  {asJSON, `{'key':'rg','value':'true'}`, 400, 1001},
		"bytes that are no UTF-8":        {asJSON, "{\"key\":\"rg\xff\",\"value\":\"true\"}", 400, 1001},
		"half a surrogate":               {asJSON, `{"key":"city","value":"\ud83d"}`, 400, 1001},
		"a byte order mark":              {asJSON, "\ufeff" + object, 0, 0},
		"an object for a string":         {asJSON, `{"key":{},"value":"true"}`, 400, 1001},
		"an array for a string":          {asJSON, `{"key":"rg","value":["true"]}`, 400, 1001},
		"as deep as it gets":             {asJSON, `{"a":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `,"key":"rg","value":"true"}`, 400, 1001},
		"64 KiB":                         {asJSON, padded(64 << 10), 0, 0},
		"one byte more":                  {asJSON, padded(64<<10 + 1), 413, 1082},
		"one byte more, all white space": {asJSON, object + strings.Repeat(" ", 64<<10+1-len(object)), 413, 1082},
		"a megabyte":                     {asJSON, padded(1 << 20), 413, 1082},
		"too large, without an object":   {asJSON, strings.Repeat("x", 64<<10+1), 413, 1082},
		"a form that would be too large": {"application/x-www-form-urlencoded", strings.Repeat("x", 64<<10+1), 415, 1001},
	} {
		for _, chunked := range []bool{false, true} {
			name := name
			if chunked {
				name += ", chunked"
			}
			t.Run(name, func(t *testing.T) {
				u := s.newUser(t)
				var body io.Reader = strings.NewReader(tt.body)
				if chunked {
					body = struct{ io.Reader }{body} // of a length that net/http does not see
				}
				options := []option{bearer(u.SessionID)}
				if tt.contentType != "" {
					options = append(options, header("Content-Type", tt.contentType))
				}
				r := s.do(t, http.MethodPost, prefix+upsetUserInfo, body, options...)
				if tt.status == 0 {
					r.ok(t, &struct{}{})
				} else {
					r.refused(t, tt.status, tt.code)
				}
				// The connection, and so the next request on it, is not harmed.
				u.has(t, fresh())
			})
		}
	}

	t.Run("not needed", func(t *testing.T) {
		u := s.newUser(t)
		for _, endpoint := range []string{getUserInfo, reLogin} {
			for name, options := range map[string][]option{
				"none":         nil,
				"none, a form": {header("Content-Type", "application/x-www-form-urlencoded")},
			} {
				t.Run(endpoint+", "+name, func(t *testing.T) {
					s.do(t, http.MethodPost, prefix+endpoint, nil, append(options, bearer(u.SessionID))...).ok(t)
				})
			}
			u.post(t, endpoint, `{"isDebug":true,"hexinv":"1"}`).ok(t)
			u.post(t, endpoint, ` { } `).ok(t)
			for _, body := range []string{`[]`, `null`, `{`, `x`, `{"a":1,"a":2}`} {
				u.post(t, endpoint, body).refused(t, http.StatusBadRequest, 1001)
			}
			u.post(t, endpoint, `a=b`, header("Content-Type", "application/x-www-form-urlencoded")).refused(t, http.StatusUnsupportedMediaType, 1001)
			u.post(t, endpoint, padded(64<<10+1)).refused(t, http.StatusRequestEntityTooLarge, 1082)
		}
	})

	t.Run("too large by its announcement", func(t *testing.T) {
		// The answer comes before any of the body does.
		conn, err := net.Dial("tcp", s.edge.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST %s%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n", prefix, oauth); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		reply{Response: resp, envelope: s.envelope, raw: raw}.refused(t, http.StatusRequestEntityTooLarge, 1082)
	})

	t.Run("a login code as long as a body", func(t *testing.T) {
		// It is the client's fault, and WeChat's breaker must not count it.
		r := s.post(t, oauth, loginBody(strings.Repeat("a", 60_000)))
		if code, text, err := r.refusal(); err != nil || code != 1001 && code != 1008 {
			t.Errorf("status %d, code %d (%s), %v, want 1001 or 1008", r.StatusCode, code, text, err)
		}
	})
	t.Run("a login code of odd characters", func(t *testing.T) {
		for _, code := range []string{"a b", "a&js_code=b", "茅台", "a\x00b", "a\nb", "%00", "../.."} {
			s.post(t, oauth, loginBody(code)).refused(t, http.StatusUnauthorized, 1008)
		}
	})
}

// padded is an object that sets rg and is n bytes long.
func padded(n int) string {
	const start, end = `{"key":"rg","value":"true","pad":"`, `"}`
	return start + strings.Repeat("a", n-len(start)-len(end)) + end
}

func testOrigins(t *testing.T, s *setting) {
	dev := s.db == nil
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
		// DNS rebinding: the browser takes the page's name and this service for one origin.
		rebound := []option{header("Origin", "http://evil.example"), func(r *http.Request) { r.Host = "evil.example" }}
		for path, method := range map[string]string{"/": http.MethodGet, "/simulator/stats": http.MethodGet,
			"/simulator/code": http.MethodPost, prefix + reLogin: http.MethodPost} {
			s.do(t, method, path, nil, rebound...).refused(t, http.StatusForbidden, 1080, "SHARES_PUBLIC_URL")
		}
	}
	// WeChat for Windows and Mac and DevTools are Chromium: they send this and no Origin.
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
				t.Error("a page elsewhere logged its visitor in")
			}
			s.post(t, upsetUserInfo, `{"key":"rg","value":"false"}`, cookie(u.SessionID), header("Origin", origin)).refused(t, http.StatusForbidden, 1080)
			for _, cookies := range [][]option{{cookie(u.SessionID)}, nil} {
				r := s.post(t, reLogin, ``, append(cookies, header("Origin", origin))...)
				r.refused(t, http.StatusForbidden, 1080)
				if r.sessionCookie() != nil {
					t.Error("a page elsewhere changed its visitor's cookie")
				}
			}
			u.has(t, fresh())
		})
	}
}
