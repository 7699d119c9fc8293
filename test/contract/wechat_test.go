package contract_test

import (
	"fmt"
	"net/http"
	"testing"
)

// testWechatFails switches WeChat's faults on, one after the other. Calls that go well stand between them: enough failures in a row
// open the breakers, which is not what is looked at here.
func testWechatFails(t *testing.T, s *setting) {
	defer s.clearFaults(t)
	const code2session = "/sns/jscode2session"
	for _, tt := range []struct {
		name         string
		fault        string
		status, code int
		wait         bool // says after how long to try again
	}{
		{"a page for an answer", `"kind":"html"`, 502, -1, false},
		{"an empty object", `"kind":"empty_json"`, 502, -1, false},
		{"half an answer", `"kind":"truncated"`, 502, -1, false},
		{"an answer without end", `"kind":"huge"`, 502, -1, false},
		{"HTTP 502", `"kind":"server_error"`, 503, -1, true},
		{"reset", `"kind":"reset"`, 503, -1, true},
		{"system error", `"kind":"errcode","errcode":-1`, 503, -1, true},
		{"wrong secret", `"kind":"errcode","errcode":40125`, 503, -1, true},
		{"too many calls", `"kind":"errcode","errcode":45011`, 429, 1094, true},
		{"code refused", `"kind":"errcode","errcode":40029`, 401, 1008, false},
		{"user blocked", `"kind":"errcode","errcode":40226`, 403, 1080, false},
		{"errcode unheard of", `"kind":"errcode","errcode":99999`, 500, 2, false},
		{"no answer in time", `"kind":"delay","delay_ms":20000`, 504, -1, false},
	} {
		t.Run("login: "+tt.name, func(t *testing.T) {
			for range 6 {
				s.newUser(t)
			}
			s.fault(t, `{"endpoint":"`+code2session+`",`+tt.fault+`}`)
			r := s.post(t, oauth, loginBody(s.code(t, t.Name())), header("Accept-Language", "en"))
			s.clearFaults(t)
			r.refused(t, tt.status, tt.code)
			if tt.wait {
				r.retryAfter(t)
			}
			if r.sessionCookie() != nil {
				t.Error("a refusal sets a cookie")
			}
		})
	}

	for i, tt := range []struct {
		name         string
		fault        string
		status, code int
		wait         bool
		words        []string
	}{
		{"a page for an answer", `"kind":"html"`, 502, -1, false, nil},
		{"no bytes", `"kind":"empty"`, 502, -1, false, nil},
		{"HTTP 502", `"kind":"server_error"`, 503, -1, true, nil},
		{"page unpublished", `"kind":"errcode","errcode":41030`, 400, 1001, false, []string{"page"}},
		{"scene refused", `"kind":"errcode","errcode":40129`, 400, 1001, false, []string{"scene"}},
		{"too many calls", `"kind":"errcode","errcode":45009`, 429, 1094, true, nil},
		{"no answer in time", `"kind":"delay","delay_ms":20000`, 504, -1, false, nil},
	} {
		t.Run("QR code: "+tt.name, func(t *testing.T) {
			u := s.newUser(t)
			for j := range 2 {
				u.qrcode(t, "pages/fault", fmt.Sprintf("good-%d-%d", i, j))
			}
			made := u.qrcode(t, "pages/fault", fmt.Sprintf("made-%d", i))
			s.fault(t, `{"endpoint":"`+unlimitedCode+`",`+tt.fault+`}`)
			r := u.post(t, getQrcode, codeBody("pages/fault", fmt.Sprintf("bad-%d", i)))
			// What is made already needs no WeChat, and the rest of the service neither.
			if got := u.qrcode(t, "pages/fault", fmt.Sprintf("made-%d", i)); got != made {
				t.Errorf("address %q, then %q", made, got)
			}
			u.has(t, fresh())
			s.clearFaults(t)
			r.refused(t, tt.status, tt.code, tt.words...)
			if tt.wait {
				r.retryAfter(t)
			}
			if got := s.do(t, http.MethodGet, s.path(t, made), nil).StatusCode; got != http.StatusOK {
				t.Errorf("picture: status %d", got)
			}
		})
	}

	t.Run("access token expired", func(t *testing.T) {
		u := s.newUser(t)
		u.qrcode(t, "pages/fault", "before")
		s.simulator(t, http.MethodPost, "rotate_token", "", nil)
		u.qrcode(t, "pages/fault", "after")
	})
}
