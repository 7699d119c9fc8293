package contract_test

import (
	"net/http"
	"testing"
)

// testWechatFails simulates one fault of each kind; test/wechat has all of them. It makes
// successful calls between the faults, because consecutive failures open the circuit breakers.
func testWechatFails(t *testing.T, s *setting) {
	defer s.clearFaults(t)
	for _, tt := range []struct {
		name, fault  string
		status, code int
	}{
		{"an HTML answer", `"kind":"html"`, 502, -1},
		{"HTTP 502", `"kind":"server_error"`, 503, -1},
		{"wrong secret", `"kind":"errcode","errcode":40125`, 503, -1},
		{"too many calls", `"kind":"errcode","errcode":45011`, 429, 1094},
		{"unknown errcode", `"kind":"errcode","errcode":99999`, 500, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 6 {
				s.newUser(t)
			}
			s.fault(t, `{"endpoint":"`+code2session+`",`+tt.fault+`}`)
			r := s.post(t, oauth, loginBody(s.code(t, t.Name())))
			s.clearFaults(t)
			r.refused(t, tt.status, tt.code)
			if tt.status == http.StatusServiceUnavailable || tt.status == http.StatusTooManyRequests {
				r.retryAfter(t)
			}
			if r.sessionCookie() != nil {
				t.Error("a refusal sets a cookie")
			}
		})
	}
	t.Run("QR code", func(t *testing.T) {
		u := s.newUser(t)
		made := u.qrcode(t, "pages/fault", "made")
		s.fault(t, `{"endpoint":"`+unlimitedCode+`","kind":"errcode","errcode":41030}`)
		u.post(t, getQrcode, codeBody("pages/fault", "bad")).refused(t, http.StatusBadRequest, 1001, "page")
		if got := u.qrcode(t, "pages/fault", "made"); got != made { // needs no call to WeChat
			t.Errorf("got URL %q, want %q as before", got, made)
		}
	})
}
