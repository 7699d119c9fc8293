package contract_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"image"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/internal/testenv"
)

const subscribeSend = "/cgi-bin/message/subscribe/send"

// message returns a subscription message for the user.
func message(u user) string {
	return `{"touser":"` + u.OpenID + `","template_id":"` + strings.Repeat("T", 43) + `","data":{"thing1":{"value":"茶"}}}`
}

// forward calls WeChat through the internal port as the service orders.
func (s *setting) forward(t testing.TB, method, path, body string, options ...option) reply {
	t.Helper()
	all := append([]option{bearer(ordersToken), header("Content-Type", "application/json")}, options...)
	return s.do(t, method, s.usersPort+"/wechat"+path, strings.NewReader(body), all...)
}

// said fails the test unless the answer is WeChat's, with that errcode.
func (r reply) said(t testing.TB, errcode int) {
	t.Helper()
	var answer struct{ Errcode int }
	if err := json.Unmarshal(r.raw, &answer); err != nil || r.StatusCode != http.StatusOK || answer.Errcode != errcode {
		t.Errorf("status %d, %s, want 200 and errcode %d", r.StatusCode, r.raw, errcode)
	}
}

func testForward(t *testing.T, s inside) {
	u := s.newUser(t)
	r := s.forward(t, http.MethodPost, subscribeSend, message(u))
	r.said(t, 0)
	for name, want := range map[string]string{
		"Content-Type": "application/json; encoding=utf-8", "Content-Length": fmt.Sprint(len(r.raw)),
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// WeChat's errors are passed on, unchanged.
	s.forward(t, http.MethodPost, subscribeSend, strings.Replace(message(u), `"touser":"`, `"touser":"x`, 1)).said(t, 40003)
	s.forward(t, http.MethodPost, subscribeSend, `{"touser":1}`).said(t, 47001)
	s.forward(t, http.MethodPost, subscribeSend, "").said(t, 44002)
	s.forward(t, http.MethodGet, subscribeSend, "").said(t, 43002)
	s.forward(t, http.MethodPost, "/cgi-bin/message/nothing", "{}").said(t, 40066)
	// The client's access_token is dropped, in any case and number.
	s.forward(t, http.MethodPost, subscribeSend+"?access_token=x&access_token=y&ACCESS_TOKEN=z&a=%2f", message(u)).said(t, 0)
	// Pictures are passed on, too.
	picture := s.forward(t, http.MethodPost, "/wxa/getwxacodeunlimit", `{"scene":"a","page":"pages/a"}`)
	if kind := http.DetectContentType(picture.raw); picture.StatusCode != 200 || kind != picture.Header.Get("Content-Type") || kind != "image/jpeg" {
		t.Errorf("status %d, %q", picture.StatusCode, kind)
	}
}

func testForwardCallers(t *testing.T, s inside) {
	u := s.newUser(t)
	for _, token := range []string{ordersToken, ordersNext, phonesToken} {
		s.forward(t, http.MethodPost, subscribeSend, message(u), bearer(token)).said(t, 0)
	}
	before := s.calls(t, subscribeSend)
	for name, credential := range map[string]string{
		"none": "", "another": "Bearer " + strings.Repeat("x", 40), "a session": "Bearer " + u.SessionID,
		"a part": "Bearer " + ordersToken[:38], "without Bearer": ordersToken, "a name": "Bearer orders:" + ordersToken,
	} {
		for _, path := range []string{"/wechat" + subscribeSend, "/users", "/wechat/../nothing"} {
			r := s.do(t, http.MethodPost, s.usersPort+path, strings.NewReader(message(u)), header("Authorization", credential), cookie(u.SessionID))
			if text := r.refused(t, http.StatusUnauthorized, 1080); !strings.Contains(text, "SHARES_INTERNAL_CALLERS") {
				t.Errorf("%s, %s: %s", name, path, text)
			}
		}
	}
	if n := s.calls(t, subscribeSend) - before; n != 0 {
		t.Errorf("%d calls reached WeChat, want 0", n)
	}
}

// testForwardRefused sends paths and parameters that never reach WeChat.
func testForwardRefused(t *testing.T, s inside) {
	address := strings.TrimPrefix(s.usersPort, "http://")
	send := func(target, body string) int {
		return exchange(t, address, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			target, ordersToken, len(body), body)).StatusCode
	}
	calls := func() (n int) {
		var stats struct{ Calls map[string]int }
		s.simulator(t, http.MethodGet, "stats", "", &stats)
		for _, calls := range stats.Calls {
			n += calls
		}
		return n
	}
	before := calls()
	for target, want := range map[string]int{
		"/wechat/wxa/msg_sec_check":                                   403, // not listed
		"/wechat/wxa/getwxacodeunlimited":                             403, // not a whole segment
		"/wechat/cgi-bin/token":                                       403, // listed by /cgi-bin
		"/wechat/cgi-bin/TOKEN":                                       403,
		"/wechat/cgi-bin/token/":                                      403,
		"/wechat/cgi-bin/stable_token":                                403,
		"/wechat/cgi-bin/clear_quota":                                 403,
		"/wechat/cgi-bin/clear_quota/v2":                              403,
		"/wechat/cgi-bin/openapi/quota/clear":                         403,
		"/wechat/cgi-bin/message/../token":                            403,
		"/wechat/cgi-bin/message/%2e%2e/token":                        403,
		"/wechat/cgi-bin/message%2f..%2ftoken":                        403,
		"/wechat/cgi-bin/message/./subscribe/send":                    403,
		"/wechat/cgi-bin//message/subscribe/send":                     403,
		"/wechat//cgi-bin/message/subscribe/send":                     403,
		"/wechat/cgi-bin/message/subscribe/send/":                     403,
		"/wechat/cgi-bin/%6dessage/subscribe/send":                    403,
		"/wechat/cgi-bin\\message/send":                               403,
		"/wechat/cgi-bin/message;x=1/send":                            403,
		"/wechat/http://evil.example/cgi-bin/message":                 403,
		"/wechat/@evil.example/cgi-bin/message":                       403,
		"/wechat":                                                     403,
		"/wechat/":                                                    403,
		"/wechat/cgi-bin/message/send?secret=x":                       403,
		"/wechat/cgi-bin/message/send?a=b&AppSecret=x":                403,
		"/wechat/cgi-bin/message/send?%73ecret=x":                     403,
		"/wechat/cgi-bin/message/send?a=b;secret=x":                   400,
		"/wechat/cgi-bin/message/send?a=%zz":                          400,
		"/%77echat/cgi-bin/message/send":                              403,
		"/wechatx/cgi-bin/message/send":                               404,
		"/users/1":                                                    403,
		"http://evil.example/wechat/cgi-bin/token":                    403,
		"http://evil.example/wechat/wxa/msg_sec_check?access_token=a": 403,
	} {
		if got := send(target, "{}"); got != want {
			t.Errorf("%s: status %d, want %d", target, got, want)
		}
	}
	for body, want := range map[string]int{
		`{"secret":"x"}`:                403,
		`{"a":1,"AppSecret":"x"}`:       403,
		`{"\u0073ecret":"x"}`:           403,
		` {"appsecret":null}`:           403,
		`{"a":1,"a":2}`:                 400, // a field that occurs twice
		`{"a":1} {"secret":"x"}`:        400,
		`{"a":1,}`:                      400,
		`[{"secret":"x"}]`:              400,
		`secret=x`:                      400,
		"\ufeff" + `{"secret":"x"}`:     400,
		`--x` + "\r\n" + `{"secret":1}`: 400, // not declared as a form
	} {
		if got := send("/wechat"+subscribeSend, body); got != want {
			t.Errorf("%s: status %d, want %d", body, got, want)
		}
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS"} {
		s.forward(t, method, subscribeSend, "{}").refused(t, http.StatusMethodNotAllowed, 1006)
	}
	if n := calls() - before; n != 0 {
		t.Errorf("%d calls reached WeChat, want 0", n)
	}
}

// exchange sends a request that net/http's client cannot send, and returns the answer without its
// body.
func exchange(t *testing.T, address, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	go func() { _, _ = io.WriteString(conn, request) }() // the server may not read all of it
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp
}

func testForwardBodies(t *testing.T, s inside) {
	pad := func(n int) string { return `{"a":"` + strings.Repeat("a", n-8) + `"}` }
	const mib = 1 << 20
	s.forward(t, http.MethodPost, "/cgi-bin/message/nothing", pad(mib)).said(t, 40066)
	s.forward(t, http.MethodPost, "/cgi-bin/message/nothing", pad(mib+1)).refused(t, http.StatusRequestEntityTooLarge, 1082)
	s.forward(t, http.MethodPost, "/cgi-bin/message/nothing", pad(11*mib)).refused(t, http.StatusRequestEntityTooLarge, 1082)
	// Without a length the body is read up to the limit.
	unknown := func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(pad(mib+1))), -1 }
	s.forward(t, http.MethodPost, "/cgi-bin/message/nothing", "", unknown).refused(t, http.StatusRequestEntityTooLarge, 1082)

	form := func(n int) (string, option) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, err := w.CreateFormFile("media", "a.png")
		if err == nil {
			_, err = part.Write(make([]byte, n))
		}
		if err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return b.String(), header("Content-Type", w.FormDataContentType())
	}
	body, kind := form(9 * mib)
	s.forward(t, http.MethodPost, "/cgi-bin/media/upload?type=image", body, kind).said(t, 40066) // unknown to the simulator
	s.forward(t, http.MethodPost, "/cgi-bin/media", body, kind).said(t, 40066)
	s.forward(t, http.MethodPost, subscribeSend, body, kind).refused(t, http.StatusRequestEntityTooLarge, 1082)
	body, kind = form(11 * mib)
	s.forward(t, http.MethodPost, "/cgi-bin/media/upload?type=image", body, kind).refused(t, http.StatusRequestEntityTooLarge, 1082)
}

// testForwardRotation replaces WeChat's access token under load.
func testForwardRotation(t *testing.T, s inside) {
	u := s.newUser(t)
	const callers, each, rotations = 8, 40, 4
	var done sync.WaitGroup
	var sent, failed atomic.Int64
	for range callers {
		done.Go(func() {
			for range each {
				if n := sent.Add(1); n%(callers*each/rotations) == callers {
					s.simulator(t, http.MethodPost, "rotate_token", "", nil)
				}
				r, err := s.try(t, http.MethodPost, s.usersPort+"/wechat"+subscribeSend, strings.NewReader(message(u)), bearer(ordersToken))
				if err != nil || r.StatusCode != http.StatusOK || !bytes.HasPrefix(r.raw, []byte(`{"errcode":0,`)) {
					failed.Add(1)
					t.Errorf("%v: %s", err, r.raw)
				}
			}
		})
	}
	done.Wait()
	t.Logf("%d calls, %d rotations, %d failed", sent.Load(), rotations, failed.Load())
}

// testForwardFaults sets faults of WeChat on one path. It makes successful calls between them,
// because consecutive failures open the breaker.
func testForwardFaults(t *testing.T, s inside) {
	u := s.newUser(t)
	defer s.clearFaults(t)
	for _, tt := range []struct {
		fault        string
		status, code int // 200: WeChat's errcode
	}{
		{`"kind":"errcode","errcode":45009`, 200, 45009},
		{`"kind":"errcode","errcode":-1`, 200, -1},
		{`"kind":"errcode","errcode":40001,"times":1`, 200, 0},
		{`"kind":"errcode","errcode":40014,"times":1`, 200, 0},
		{`"kind":"errcode","errcode":42001,"times":1`, 200, 0},
		{`"kind":"errcode","errcode":42001`, 200, 42001}, // repeated once, then passed on
		{`"kind":"server_error"`, 503, -1},
		{`"kind":"reset"`, 503, -1},
		{`"kind":"cut_body"`, 502, -1},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			for range 6 {
				s.forward(t, http.MethodPost, subscribeSend, message(u)).said(t, 0)
			}
			s.fault(t, `{"endpoint":"`+subscribeSend+`",`+tt.fault+`}`)
			r := s.forward(t, http.MethodPost, subscribeSend, message(u))
			s.clearFaults(t)
			if tt.status == http.StatusOK {
				r.said(t, tt.code)
			} else {
				r.refused(t, tt.status, tt.code)
			}
		})
	}
}

// people is the answer of /users.
type people struct {
	Users []person `json:"users"`
	Gone  []int64  `json:"gone"`
}

type person struct {
	ID        int64   `json:"id"`
	OpenID    string  `json:"openid"`
	UnionID   string  `json:"unionid"`
	NickName  string  `json:"nickName"`
	AvatarURL string  `json:"avatarURL"`
	Phone     *string `json:"phone"`
}

func (s *setting) people(t testing.TB, ids string, options ...option) (p people) {
	t.Helper()
	r := s.do(t, http.MethodPost, s.usersPort+"/users", strings.NewReader(`{"ids":`+ids+`}`), append([]option{bearer(ordersToken)}, options...)...)
	if err := r.headers(); r.StatusCode != http.StatusOK || err != nil {
		t.Fatalf("status %d: %s", r.StatusCode, r.raw)
	}
	if err := strictly(r.raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// id returns the user's id.
func (u user) id(t testing.TB) (id int64) {
	t.Helper()
	r := u.s.authorize(t, bearer(u.SessionID))
	r.isUser(t, u)
	_, err := fmt.Sscan(r.Header.Get("X-Shares-User-Id"), &id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func testUsers(t *testing.T, s inside) {
	alice, bob := s.login(t, t.Name()+" alice"), s.login(t, t.Name()+" bob")
	s.hide("13912345678")
	alice.post(t, updateUserInfo, `{"nickName":"爱丽丝","avatarURL":"https://example.com/a.png"}`).ok(t)
	alice.post(t, upsetUserInfo, `{"key":"phone","value":"13912345678"}`).ok(t)
	bob.avatar(t, asPNG(t, image.NewGray(image.Rect(0, 0, 16, 16))))
	a, b := alice.id(t), bob.id(t)
	const none = 1 << 40
	ids := fmt.Sprintf(`[%d,%d,%d,%d,0,-1]`, b, a, none, a)
	for range 2 { // from the database, or from the cache
		got := s.people(t, ids)
		if diff := cmp.Diff([]int64{-1, 0, none}, got.Gone); diff != "" {
			t.Errorf("gone (-want +got):\n%s", diff)
		}
		found := map[int64]person{}
		for _, p := range got.Users {
			found[p.ID] = p
		}
		avatar := found[b].AvatarURL
		if !strings.Contains(avatar, "/shares/images/avatar/") {
			t.Errorf("avatarURL %q", avatar)
		}
		want := map[int64]person{
			a: {ID: a, OpenID: alice.OpenID, NickName: "爱丽丝", AvatarURL: "https://example.com/a.png"},
			b: {ID: b, OpenID: bob.OpenID, AvatarURL: avatar},
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("users (-want +got):\n%s", diff)
		}
	}
	for _, p := range s.people(t, ids, bearer(phonesToken)).Users {
		if want := map[int64]string{a: "13912345678", b: ""}[p.ID]; p.Phone == nil || *p.Phone != want {
			t.Errorf("phone of %d: got %v, want %q", p.ID, p.Phone, want)
		}
	}
	// A change is visible, because the cache is the service's own.
	alice.post(t, updateUserInfo, `{"nickName":"changed"}`).ok(t)
	waitUntil(t, "the new nickname is answered", func() bool { return s.people(t, fmt.Sprintf("[%d]", a)).Users[0].NickName == "changed" })
	if diff := cmp.Diff(people{Users: []person{}, Gone: []int64{}}, s.people(t, "[]")); diff != "" {
		t.Errorf("no ids (-want +got):\n%s", diff)
	}
}

func testUsersRefused(t *testing.T, s inside) {
	post := func(body string, options ...option) reply {
		t.Helper()
		return s.do(t, http.MethodPost, s.usersPort+"/users", strings.NewReader(body), append([]option{bearer(ordersToken)}, options...)...)
	}
	many := func(n int) string { return `{"ids":[` + strings.TrimSuffix(strings.Repeat("1,", n), ",") + `]}` }
	post(many(100)).said(t, 0)
	post(many(101)).refused(t, http.StatusBadRequest, 1001, "ids", "100")
	for _, body := range []string{``, `{`, `[]`, `{"ids":["1"]}`, `{"ids":[1.5]}`, `{"ids":1}`, `{"ids":[1]}x`, `{"ids":[99999999999999999999]}`} {
		post(body).refused(t, http.StatusBadRequest, 1001)
	}
	for _, body := range []string{`{}`, `null`, `{"ids":null}`, `{"IDS":[1]}`} {
		post(body).refused(t, http.StatusBadRequest, 1001, "ids")
	}
	post(`{"ids":[1],"pad":"`+strings.Repeat("a", 1<<20)+`"}`).refused(t, http.StatusRequestEntityTooLarge, 1082)
	get := s.do(t, http.MethodGet, s.usersPort+"/users", nil, bearer(ordersToken))
	get.refused(t, http.StatusMethodNotAllowed, 1006)
	if allow := get.Header.Get("Allow"); allow != "POST" {
		t.Errorf("Allow: got %q, want POST", allow)
	}
}

// TestServicesWithoutStorage counts the statements for 100 uncached users, and then kills Redis and
// the database.
func TestServicesWithoutStorage(t *testing.T) {
	t.Parallel()
	db, redis := testenv.NewMariaDB(t), testenv.Redis(t)
	parts := realParts(t, db, redis)
	parts.migrate(t)
	admin, err := testenv.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, parts, internally(t, map[string]string{"SHARES_ADMIN_LISTEN": admin}))
	conn, err := sql.Open("mysql", parts["MYSQL_DSN"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	first := s.newUser(t).id(t)
	selects := func() (n int) {
		var name string
		if err := conn.QueryRow("SHOW GLOBAL STATUS LIKE 'Com_select'").Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var ids []string
	for i := range int64(100) {
		ids = append(ids, fmt.Sprint(first+i))
	}
	all := "[" + strings.Join(ids, ",") + "]"
	before := selects()
	if got := s.people(t, all); len(got.Users) != 1 || len(got.Gone) != 99 {
		t.Errorf("%d users, %d gone, want 1 and 99", len(got.Users), len(got.Gone))
	}
	if n := selects() - before; n > 1 {
		t.Errorf("%d queries for 100 users, want at most 1", n)
	}
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := s.people(t, all); len(got.Users) != 1 || len(got.Gone) != 99 {
		t.Errorf("without Redis: %d users, %d gone, want 1 and 99", len(got.Users), len(got.Gone))
	}
	s.forward(t, http.MethodPost, subscribeSend, `{}`).said(t, 40003)
	if err := db.Kill(); err != nil {
		t.Fatal(err)
	}
	unavailable(t, s.do(t, http.MethodPost, s.usersPort+"/users", strings.NewReader(`{"ids":`+all+`}`), bearer(ordersToken)))
	s.forward(t, http.MethodPost, subscribeSend, `{}`).said(t, 40003)
	metrics := string(s.do(t, http.MethodGet, "http://"+admin+"/metrics", nil).raw)
	for _, line := range []string{
		`shares_internal_calls_total{caller="orders",path="/cgi-bin/message",reason=""} 2`,
		`shares_internal_calls_total{caller="orders",path="/users",reason=""} 2`,
		`shares_internal_calls_total{caller="orders",path="/users",reason="UNAVAILABLE"} 1`,
		`shares_wechat_calls_total{endpoint="/cgi-bin/message",errcode="other"} 2`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}
