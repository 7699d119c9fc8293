package contract_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const prefix = "/shares/api/v1/"

// The endpoints.
const (
	oauth          = "weixin.oauth"
	reLogin        = "weixin.re_login"
	updateUserInfo = "weixin.update_user_info"
	upsetUserInfo  = "weixin.upset_user_info"
	getQrcode      = "weixin.get_qrcode"
	getUserInfo    = "weixin.get_user_info"
	uploadAvatar   = "weixin.upload_avatar"
	logout         = "weixin.logout"
	deleteUserInfo = "weixin.delete_user_info"
)

// reply is an answer of the edge, with or without envelope.
type reply struct {
	*http.Response
	envelope bool
	raw      []byte // the whole body
}

// option changes a request before it is sent.
type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }

// bearer sends a session in the Authorization header, as the mini program does.
func bearer(session string) option { return header("Authorization", "Bearer "+session) }

// cookie sends a session in the cookie, as the H5 client does.
func cookie(session string) option {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "session_token", Value: session}) }
}

// post sends body as JSON to an endpoint.
func (s *setting) post(t testing.TB, endpoint, body string, options ...option) reply {
	t.Helper()
	return s.do(t, http.MethodPost, prefix+endpoint, strings.NewReader(body),
		append([]option{header("Content-Type", "application/json")}, options...)...)
}

// do sends a request to a path of the edge, or to a URL, whose answers have no envelope.
func (s *setting) do(t testing.TB, method, path string, body io.Reader, options ...option) reply {
	t.Helper()
	r, err := s.try(t, method, path, body, options...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// try is like do, but returns the error, for goroutines.
func (s *setting) try(t testing.TB, method, path string, body io.Reader, options ...option) (reply, error) {
	envelope := s.envelope
	if strings.HasPrefix(path, "http://") {
		envelope = false
	} else {
		path = s.base + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, path, body)
	if err != nil {
		return reply{}, err
	}
	for _, o := range options {
		o(req)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	raw, err := io.ReadAll(resp.Body)
	if err := resp.Body.Close(); err != nil {
		return reply{}, err
	}
	return reply{Response: resp, envelope: envelope, raw: raw}, err
}

// connection is one request on a raw connection.
type connection struct {
	net.Conn
	answers  *bufio.Reader
	envelope bool
}

// connect sends the header of a request without its body.
func (s *setting) connect(t testing.TB, endpoint, headers string) connection {
	t.Helper()
	conn, err := net.Dial("tcp", s.edge.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := connection{conn, bufio.NewReader(conn), s.envelope}
	c.send(t, "POST "+prefix+endpoint+" HTTP/1.1\r\nHost: "+s.edge.Address()+"\r\n"+headers+"\r\n\r\n")
	return c
}

func (c connection) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads an answer. The body may not have been sent yet.
func (c connection) answer(t testing.TB) reply {
	t.Helper()
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{Response: resp, envelope: c.envelope, raw: raw}
}

// bodyOf returns a body. If chunked, it hides its length from net/http.
func bodyOf(text string, chunked bool) io.Reader {
	if chunked {
		return struct{ io.Reader }{strings.NewReader(text)}
	}
	return strings.NewReader(text)
}

// headers returns an error unless the answer has the headers that all JSON answers have.
func (r reply) headers() error {
	for name, want := range map[string]string{
		"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", // it may hold a session
	} {
		if got := r.Header.Get(name); got != want {
			return fmt.Errorf("%s %q of %s", name, got, r.raw)
		}
	}
	if r.Header.Get("X-Request-Id") == "" {
		return errors.New("no X-Request-Id")
	}
	return nil
}

// fields are the fields of an error and of the envelope.
type fields struct {
	State *bool           `json:"state"`
	Code  *int            `json:"code"`
	Error *string         `json:"error"`
	Msg   *string         `json:"msg"`
	Data  json.RawMessage `json:"data"`
}

// data returns the answer of a successful call, without its envelope.
func (r reply) data() (json.RawMessage, error) {
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", r.StatusCode, r.raw)
	}
	if err := r.headers(); err != nil || !r.envelope {
		return r.raw, err
	}
	var v fields
	if err := strictly(r.raw, &v); err != nil {
		return nil, err
	}
	if v.State == nil || !*v.State || v.Code == nil || *v.Code != 0 || v.Error == nil || *v.Error != "normal" || v.Data == nil || v.Msg != nil {
		return nil, fmt.Errorf("not a successful answer in an envelope: %s", r.raw)
	}
	return v.Data, nil
}

// ok fails the test unless the call succeeded, and decodes the answer into each of into.
func (r reply) ok(t testing.TB, into ...any) {
	t.Helper()
	data, err := r.data()
	if err != nil {
		t.Fatalf("the call was refused: %v", err)
	}
	for _, v := range into {
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
	}
}

// refusal returns the code and the text of an error answer. It returns an error if the answer does
// not have the form of one.
func (r reply) refusal() (code int, text string, err error) {
	if err := r.headers(); err != nil {
		return 0, "", err
	}
	var v fields
	if err := strictly(r.raw, &v); err != nil {
		return 0, "", err
	}
	message, other := v.Msg, v.Error
	if r.envelope {
		message, other = v.Error, v.Msg
	}
	if v.Code == nil || message == nil || other != nil || v.Data != nil || r.envelope != (v.State != nil) || r.envelope && *v.State {
		return 0, "", fmt.Errorf("not the form of an error: %s", r.raw)
	}
	return *v.Code, *message, nil
}

// refused fails the test unless the call was refused with that status (200 in an envelope), code,
// and all of words in its text. It returns the text.
func (r reply) refused(t testing.TB, status, code int, words ...string) string {
	t.Helper()
	gotCode, text, err := r.refusal()
	if err != nil {
		t.Fatalf("status %d: %v", r.StatusCode, err)
	}
	if r.envelope {
		status = http.StatusOK
	}
	if r.StatusCode != status || gotCode != code {
		t.Errorf("got %d/%d (%s), want %d/%d", r.StatusCode, gotCode, text, status, code)
	}
	if text == "" {
		t.Error("no text for the user")
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("text %q does not contain %q", text, word)
		}
	}
	return text
}

// retryAfter fails the test unless Retry-After is 1 to 120 seconds.
func (r reply) retryAfter(t testing.TB) {
	t.Helper()
	var seconds int
	if _, err := fmt.Sscan(r.Header.Get("Retry-After"), &seconds); err != nil || seconds < 1 || seconds > 120 {
		t.Errorf("Retry-After: got %q, want 1 to 120", r.Header.Get("Retry-After"))
	}
}

// sessionCookie returns the session cookie that the answer sets, or nil.
func (r reply) sessionCookie() *http.Cookie {
	for _, c := range r.Cookies() {
		if c.Name == "session_token" {
			return c
		}
	}
	return nil
}

// strictly decodes JSON into v, and returns an error for unknown names.
func strictly(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w in %s", err, data)
	}
	return nil
}

// The answers as documented. testdata shows that every field is always present.
type (
	loginAnswer struct {
		SessionID   string `json:"sessionId"`
		OpenID      string `json:"openId"`
		OverdueTime int64  `json:"overdueTime"`
	}
	reLoginAnswer struct {
		Relogin bool `json:"relogin"`
		loginAnswer
	}
	urlAnswer struct { // of get_qrcode and upload_avatar
		URL string `json:"url"`
	}
	profile struct {
		OpenID    string `json:"openid"`
		NickName  string `json:"nickName"`
		AvatarURL string `json:"avatarURL"`
		Gender    string `json:"gender"`
		City      string `json:"city"`
		Province  string `json:"province"`
		Country   string `json:"country"`
		Phone     string `json:"phone"`
		Group     string `json:"group"`
		Rg        bool   `json:"rg"`
		Only20    bool   `json:"only20"`
		Capacity  int32  `json:"capacity"`
	}
)

// user is a logged-in user.
type user struct {
	s    *setting
	name string // in the simulator
	loginAnswer
}

// simulator calls a control path of the simulator.
func (s *setting) simulator(t testing.TB, method, path, body string, into any) {
	t.Helper()
	r := s.do(t, method, s.control+"/simulator/"+path, strings.NewReader(body))
	if r.StatusCode != http.StatusOK {
		t.Fatalf("simulator %s: status %d: %s", path, r.StatusCode, r.raw)
	}
	if into != nil {
		if err := json.Unmarshal(r.raw, into); err != nil {
			t.Fatal(err)
		}
	}
}

// code returns a login code of the user with that name, as wx.login does. fields are more JSON
// fields of the request.
func (s *setting) code(t testing.TB, name string, fields ...string) string {
	t.Helper()
	var answer struct{ Code string }
	body := `{"user":` + quote(name)
	for _, f := range fields {
		body += "," + f
	}
	s.simulator(t, http.MethodPost, "code", body+"}", &answer)
	s.hide(answer.Code)
	return answer.Code
}

// phoneCode returns a body of upset_user_info with a code of that phone number.
func (s *setting) phoneCode(t testing.TB, phone string) string {
	t.Helper()
	var answer struct{ Code string }
	s.simulator(t, http.MethodPost, "phone_code", `{"phone":`+quote(phone)+`}`, &answer)
	s.hide(phone, answer.Code)
	return upsetBody("phoneCode", answer.Code)
}

// calls returns the number of calls to a WeChat endpoint.
func (s *setting) calls(t testing.TB, path string) int {
	t.Helper()
	var stats struct{ Calls map[string]int }
	s.simulator(t, http.MethodGet, "stats", "", &stats)
	return stats.Calls[path]
}

// fault switches on a fault of WeChat, until clearFaults.
func (s *setting) fault(t testing.TB, fault string) {
	t.Helper()
	s.simulator(t, http.MethodPost, "faults", fault, nil)
}

func (s *setting) clearFaults(t testing.TB) {
	t.Helper()
	s.simulator(t, http.MethodDelete, "faults", "", nil)
}

func loginBody(code string) string { return `{"jscode":` + quote(code) + `}` }

func upsetBody(key, value string) string {
	return `{"key":` + quote(key) + `,"value":` + quote(value) + `}`
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// login logs in the user with that name.
func (s *setting) login(t testing.TB, name string) user {
	t.Helper()
	u := user{s: s, name: name}
	s.post(t, oauth, loginBody(s.code(t, name))).ok(t, &u.loginAnswer)
	s.hide(u.SessionID, u.OpenID)
	return u
}

// newUser logs in a user with the test's name.
func (s *setting) newUser(t testing.TB) user {
	t.Helper()
	return s.login(t, t.Name())
}

// post calls an endpoint with the user's session in the header.
func (u user) post(t testing.TB, endpoint, body string, options ...option) reply {
	t.Helper()
	return u.s.post(t, endpoint, body, append([]option{bearer(u.SessionID)}, options...)...)
}

// profile returns the answer of get_user_info.
func (u user) profile(t testing.TB) profile {
	t.Helper()
	var p profile
	u.post(t, getUserInfo, `{}`).ok(t, &p)
	return p
}

// has fails the test unless get_user_info returns the profile of a new user with these changes.
func (u user) has(t testing.TB, changes ...func(*profile)) {
	t.Helper()
	want := profile{OpenID: u.OpenID, Rg: true, Capacity: 5}
	for _, change := range changes {
		change(&want)
	}
	if diff := cmp.Diff(want, u.profile(t)); diff != "" {
		t.Errorf("get_user_info (-want +got):\n%s", diff)
	}
}
