package contract_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// refusal is a call that is always refused.
type refusal struct {
	name, endpoint, body string // <used> and <blocked> in the body stand for such login codes
	status, code         int
	anonymous            bool   // without a session
	contentType          string // empty: as the body is
}

// refusals has one of each kind. Their texts in both languages, which name the field and the rule,
// are in testdata/errors.json.
var refusals = []refusal{
	{"body empty", oauth, "", 400, 1001, true, ""},
	{"body malformed", oauth, `{"jscode":`, 400, 1001, true, ""},
	{"body not an object", oauth, `["a"]`, 400, 1001, true, ""},
	{"body with a name twice", oauth, `{"jscode":"a","jscode":"b"}`, 400, 1001, true, ""},
	{"body not UTF-8", oauth, "{\"jscode\":\"\xff\"}", 400, 1001, true, ""},
	{"body not JSON", oauth, `jscode=a`, 415, 1001, true, "application/x-www-form-urlencoded"},
	{"body too large", updateUserInfo, `{"pad":"` + strings.Repeat("a", 64<<10) + `"}`, 413, 1082, false, ""},
	{"body not empty", getUserInfo, `[]`, 400, 1001, false, ""},
	{"field missing", oauth, `{}`, 400, 1001, true, ""},
	{"field of the wrong type", oauth, `{"jscode":1}`, 400, 1001, true, ""},
	{"field in two cases", oauth, `{"jscode":"a","jsCode":"b"}`, 400, 1001, true, ""},
	{"field too long", updateUserInfo, `{"country":"lost","city":"` + strings.Repeat("a", 65) + `"}`, 400, 1001, false, ""},
	{"field with control characters", updateUserInfo, `{"city":"\u0007"}`, 400, 1001, false, ""},
	{"gender unknown", updateUserInfo, `{"city":"lost","gender":"3"}`, 400, 1001, false, ""},
	{"avatar temporary", updateUserInfo, `{"avatarURL":"wxfile://tmp_a.jpg"}`, 400, 1001, false, ""},
	{"avatar temporary, of DevTools", updateUserInfo, `{"avatarURL":"http://127.0.0.1:31234/__tmp__/a.png"}`, 400, 1001, false, ""},
	{"avatar not a URL", updateUserInfo, `{"avatarURL":"a.jpg"}`, 400, 1001, false, ""},
	{"avatar too long", updateUserInfo, `{"avatarURL":"https://e.org/` + strings.Repeat("a", 500) + `"}`, 400, 1001, false, ""},
	{"session not a string", updateUserInfo, `{"sessionID":1,"city":"lost"}`, 400, 1001, false, ""},
	{"key missing", upsetUserInfo, `{"value":"1"}`, 400, 1001, false, ""},
	{"key unknown", upsetUserInfo, upsetBody("capacity", "9"), 400, 1001, false, ""},
	{"key in another case", upsetUserInfo, upsetBody("Phone", "13800138000"), 400, 1001, false, ""},
	{"value not a string", upsetUserInfo, `{"key":"rg","value":false}`, 400, 1001, false, ""},
	{"switch neither true nor false", upsetUserInfo, upsetBody("rg", "0"), 400, 1001, false, ""},
	{"phone not a number", upsetUserInfo, upsetBody("phone", "1"), 400, 1001, false, ""},
	{"phone code empty", upsetUserInfo, upsetBody("phoneCode", ""), 400, 1001, false, ""},
	{"phone code refused", upsetUserInfo, upsetBody("phoneCode", "made-up"), 400, 1001, false, ""},
	{"scene missing", getQrcode, `{"page":"pages/a"}`, 400, 1001, false, ""},
	{"scene refused", getQrcode, codeBody("", "%"), 400, 1001, false, ""},
	{"scene too long", getQrcode, codeBody("", strings.Repeat("a", 33)), 400, 1001, false, ""},
	{"page refused", getQrcode, codeBody("/a", "a"), 400, 1001, false, ""},
	{"page with a query", getQrcode, codeBody("a?b=c", "a"), 400, 1001, false, ""},
	{"login code unknown", oauth, loginBody("a&js_code=茅台\n../.."), 401, 1008, true, ""},
	{"login code used", oauth, `{"jscode":"<used>"}`, 401, 1008, true, ""},
	{"no session", getUserInfo, `{}`, 401, 1018, true, ""},
	{"user blocked", oauth, `{"jscode":"<blocked>"}`, 403, 1080, true, ""},
	{"no such path", "weixin.nothing", `{}`, 404, 1006, true, ""},
	{"file not in a form", uploadAvatar, `{"file":"a.png"}`, 415, 1001, false, ""},
	{"file missing", uploadAvatar, strings.ReplaceAll(form(nil), `"file"`, `"photo"`), 400, 1001, false, ""},
	{"file empty", uploadAvatar, form(nil), 400, 1001, false, ""},
	{"file cut off", uploadAvatar, strings.SplitAfter(form([]byte("picture")), "picture")[0], 400, 1001, false, ""},
	{"file not a picture", uploadAvatar, form([]byte("text")), 400, 1001, false, ""},
	{"file of another format", uploadAvatar, form([]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;")), 400, 1001, false, ""},
	{"file with too many pixels", uploadAvatar, form(claimingPNG(60_000, 60_000)), 400, 1001, false, ""},
	{"file too large", uploadAvatar, form(make([]byte, maxFile+1)), 413, 1082, false, ""},
	{"file far too large", uploadAvatar, form(make([]byte, 3*maxFile)), 413, 1082, false, ""},
}

func testRefusals(t *testing.T, s *setting) {
	type texts struct {
		Status int    `json:"status"`
		Code   int    `json:"code"`
		Zh     string `json:"zh"`
		En     string `json:"en"`
	}
	all, codes := map[string]texts{}, s.calls(t, unlimitedCode)
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			all[tt.name] = texts{tt.status, tt.code, s.refuse(t, tt, "zh-CN", false), s.refuse(t, tt, "en", true)}
		})
	}
	if n := s.calls(t, unlimitedCode) - codes; n != 0 {
		t.Errorf("%d QR codes were requested from WeChat, want 0", n)
	}
	if t.Failed() {
		return
	}
	file, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, s, "errors", file)
}

// refuse makes a call in one language, with a body of unknown length if chunked, and returns the
// text of the refusal.
func (s *setting) refuse(t *testing.T, tt refusal, language string, chunked bool) string {
	t.Helper()
	contentType, body := tt.contentType, tt.body
	if contentType == "" && strings.HasPrefix(body, "--"+boundary) {
		contentType = formType
	} else if contentType == "" {
		contentType = "application/json"
	}
	options := []option{header("Content-Type", contentType), header("Accept-Language", language)}
	u, name := user{s: s}, t.Name()+language // an own user, because uploads of one must not overlap
	if !tt.anonymous {
		u = s.login(t, name)
		options = append(options, bearer(u.SessionID))
	}
	if strings.Contains(body, "<used>") {
		code := s.code(t, name)
		s.post(t, oauth, loginBody(code)).ok(t)
		body = strings.Replace(body, "<used>", code, 1)
	} else if strings.Contains(body, "<blocked>") {
		body = strings.Replace(body, "<blocked>", s.code(t, name, `"blocked":true`), 1)
	}
	r := s.do(t, http.MethodPost, prefix+tt.endpoint, bodyOf(body, chunked), options...)
	if len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("a refusal sets the cookie %q", r.Header["Set-Cookie"])
	}
	text := r.refused(t, tt.status, tt.code)
	if strings.ContainsAny(text, "{}") {
		t.Errorf("%q contains a placeholder", text)
	}
	if !tt.anonymous {
		u.has(t) // nothing was stored
	}
	if keys, _, ok := strings.Cut(text, ", language"); ok {
		text = keys + ", language" // later versions may have more keys
	}
	return text
}

func testMethodsAndPaths(t *testing.T, s *setting) {
	for _, endpoint := range []string{oauth, reLogin, updateUserInfo, upsetUserInfo, getQrcode, getUserInfo, uploadAvatar, logout, deleteUserInfo} {
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
	for _, name := range []string{strings.Repeat("0", 64) + ".jpg", "", "..%2f..%2fsession.secret", "../..%2f/session.secret", "%00.jpg"} {
		s.do(t, http.MethodGet, "/shares/images/qrcode/"+name, nil).refused(t, http.StatusNotFound, 1006)
	}
	s.do(t, http.MethodPost, "/shares/images/qrcode/a.jpg", nil).refused(t, http.StatusMethodNotAllowed, 1006)
	s.post(t, oauth+"?jscode="+s.code(t, t.Name()), `{}`).refused(t, http.StatusBadRequest, 1001, "jscode") // the query is ignored
	// The body of this answer cannot be read to its end, because the request was not.
	long := s.connect(t, oauth, "X-A: "+strings.Repeat("a", 64<<10))
	if r, err := http.ReadResponse(long.answers, nil); err != nil || r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 64 KiB: %v, %v, want status 431", r, err)
	}
	s.connect(t, oauth, "Content-Type: application/json\r\nContent-Length: 1000000000").answer(t).refused(t, http.StatusRequestEntityTooLarge, 1082)
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

// The rules are tested in api/internal/edge.
func testOrigins(t *testing.T, s *setting) {
	preflight := func(origin string) string {
		return s.do(t, http.MethodOptions, prefix+oauth, nil, header("Origin", origin), header("Access-Control-Request-Method", "POST"),
			header("Access-Control-Request-Headers", "authorization,content-type")).Header.Get("Access-Control-Allow-Origin")
	}
	const local = "http://192.168.1.7:3000"
	want := ""
	if s.embedded() { // dev mode
		want = local
		// DNS rebinding: the browser treats the page and this service as one origin.
		rebound := []option{header("Origin", "http://evil.example"), func(r *http.Request) { r.Host = "evil.example" }}
		for path, method := range map[string]string{"/": http.MethodGet, "/simulator/stats": http.MethodGet,
			"/simulator/code": http.MethodPost, prefix + reLogin: http.MethodPost} {
			s.do(t, method, path, nil, rebound...).refused(t, http.StatusForbidden, 1080, "SHARES_PUBLIC_URL")
		}
	}
	if got := preflight(local); got != want {
		t.Errorf("Access-Control-Allow-Origin for %s: got %q, want %q", local, got, want)
	}
	// WeChat for Windows and Mac and DevTools send these headers and no Origin.
	s.post(t, oauth, loginBody(s.code(t, t.Name())), header("Sec-Fetch-Site", "cross-site"), header("xweb_xhr", "1"),
		header("Referer", "https://servicewechat.com/wx0123456789abcdef/42/page-frame.html")).ok(t)
	u := s.newUser(t)
	for _, origin := range []string{"https://evil.example", "null"} {
		if got := preflight(origin); got != "" {
			t.Errorf("Access-Control-Allow-Origin for %s: got %q, want none", origin, got)
		}
		for _, r := range []reply{
			s.post(t, oauth, loginBody(s.code(t, t.Name())), header("Origin", origin)),
			s.post(t, upsetUserInfo, upsetBody("rg", "false"), cookie(u.SessionID), header("Origin", origin)),
			s.post(t, reLogin, ``, cookie(u.SessionID), header("Origin", origin)),
			s.post(t, reLogin, ``, header("Origin", origin)),
		} {
			r.refused(t, http.StatusForbidden, 1080)
			if r.sessionCookie() != nil {
				t.Error("a page of another origin changed its visitor's cookie")
			}
		}
		u.has(t)
	}
}
