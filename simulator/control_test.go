package simulator_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/simulator"
)

// control calls a control path through the handler that `shares serve` mounts.
func (w *wechat) control(t testing.TB, method, path, body string) reply {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Control().ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
	return parseReply(rec.Result(), rec.Body.Bytes())
}

func TestControlCode(t *testing.T) {
	w := newWeChat(simulator.Options{})
	login := func(body string) reply {
		code, _ := w.control(t, "POST", "/simulator/code", body).fields(t)["code"].(string)
		if len(code) != 32 {
			t.Errorf("%s gives code %q, want 32 characters", body, code)
		}
		return w.do(t, "GET", loginURL(code), "")
	}
	openID := w.OpenID("alice")
	unionID := login(`{"user":"alice","unionid":true}`).fields(t)["unionid"]
	if id, _ := unionID.(string); len(id) != 28 || id == openID {
		t.Errorf("unionid %v, want 28 characters that are not the openid", unionID)
	}
	for body, want := range map[string]any{
		`{"user":"alice"}`:                 nil,
		`{"user":"alice","unionid":false}`: nil,
		`{"user":"alice","unionid":true}`:  unionID,
		`{"user":"alice","unionid":"u1"}`:  "u1",
	} {
		m := login(body).fields(t)
		if m["openid"] != openID || m["unionid"] != want {
			t.Errorf("%s logs in openid %v unionid %v, want %v %v", body, m["openid"], m["unionid"], openID, want)
		}
	}
	if got := login(`{"user":"alice","blocked":true}`).errcode; got != 40226 {
		t.Errorf("blocked user: %d, want 40226", got)
	}
}

func TestControlFaultsAndStats(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token := w.token(t, false)
	steps := []struct{ method, path, body, want string }{
		{"POST", "/simulator/faults", `{"endpoint":"/wxa/getwxacodeunlimit","kind":"errcode","errcode":45009,"delay_ms":5,"times":3}`,
			`{"faults":[{"endpoint":"/wxa/getwxacodeunlimit","kind":"errcode","errcode":45009,"delay_ms":5,"times":3}]}`},
		{"POST", "/simulator/faults", `{"kind":"server_error","status":500}`,
			`{"faults":[{"endpoint":"*","kind":"server_error","status":500},` +
				`{"endpoint":"/wxa/getwxacodeunlimit","kind":"errcode","errcode":45009,"delay_ms":5,"times":3}]}`},
		{"GET", "/simulator/stats", ``,
			`{"calls":{"/cgi-bin/stable_token":1,"/wxa/getwxacodeunlimit":1},"faults":[{"endpoint":"*","kind":"server_error","status":500},` +
				`{"endpoint":"/wxa/getwxacodeunlimit","kind":"errcode","errcode":45009,"delay_ms":5,"times":2}],` +
				`"endpoints":["/cgi-bin/message/subscribe/send","/cgi-bin/stable_token","/cgi-bin/token","/sns/jscode2session","/wxa/business/getuserphonenumber",` +
				`"/wxa/getwxacodeunlimit","/wxa/msg_sec_check"],"kinds":["delay","errcode","text_json","server_error","html",` +
				`"empty_json","truncated","empty","slow_body","cut_body","huge","reset"]}`},
		{"DELETE", "/simulator/faults", ``, `{"faults":[]}`},
		{"POST", "/simulator/rotate_token", ``, `{}`},
	}
	for i, step := range steps {
		got := w.control(t, step.method, step.path, step.body)
		if diff := cmp.Diff(step.want+"\n", string(got.body)); diff != "" || got.status != 200 {
			t.Errorf("%s %s: %d (-want +got):\n%s", step.method, step.path, got.status, diff)
		}
		if i == 1 {
			if a := w.do(t, "POST", qrURL(token), `{"scene":"a"}`); a.errcode != 45009 {
				t.Errorf("fault by the control path: %s", a.body)
			}
		}
	}
	w.work(t, "after a rotation", []int{40001}, token)
}

func TestControlRefusals(t *testing.T) {
	w := newWeChat(simulator.Options{})
	tests := []struct {
		name, method, path, body string
		status                   int
		text                     string // prefix of the error
	}{
		{"no path", "GET", "/simulator/nothing", ``, 404, "no such path"},
		{"WeChat's API, because serve mounts the handler on its public port", "GET", loginURL(w.Code("alice")), ``, 404, "no such path"},
		{"no method", "GET", "/simulator/code", ``, 405, "no such method"},
		{"no body", "POST", "/simulator/code", ``, 400, "body: "},
		{"no JSON", "POST", "/simulator/code", `user=alice`, 400, "body: "},
		{"two values", "POST", "/simulator/code", `{"user":"a"}{"user":"b"}`, 400, "body: "},
		{"unknown field", "POST", "/simulator/faults", `{"kind":"reset","percent":5}`, 400, "body: "},
		{"too large", "POST", "/simulator/code", `{"user":"` + strings.Repeat("a", 64<<10) + `"}`, 413, "body too large"},
		{"no user", "POST", "/simulator/code", `{}`, 400, "user: "},
		{"long user", "POST", "/simulator/code", `{"user":"` + strings.Repeat("a", 129) + `"}`, 400, "user: "},
		{"unionid of a number", "POST", "/simulator/code", `{"user":"a","unionid":5}`, 400, "unionid: "},
		{"empty unionid", "POST", "/simulator/code", `{"user":"a","unionid":""}`, 400, "unionid: "},
		{"no phone", "POST", "/simulator/phone_code", `{"phone":"call me"}`, 400, "phone: "},
		{"no kind", "POST", "/simulator/faults", `{}`, 400, "kind: "},
		{"no endpoint", "POST", "/simulator/faults", `{"endpoint":"/wxa/x","kind":"reset"}`, 400, "endpoint: "},
		{"long delay", "POST", "/simulator/faults", `{"kind":"delay","delay_ms":9223372036854775807}`, 400, "delay_ms: "},
		{"status", "POST", "/simulator/faults", `{"kind":"server_error","status":404}`, 400, "status: "},
		{"delay of nothing", "POST", "/simulator/faults", `{"kind":"delay"}`, 400, "delay: "},
		{"negative times", "POST", "/simulator/faults", `{"kind":"reset","times":-1}`, 400, "times: "},
	}
	for _, tt := range tests {
		got := w.control(t, tt.method, tt.path, tt.body)
		text, _ := got.fields(t)["error"].(string)
		if got.status != tt.status || !strings.HasPrefix(text, tt.text) {
			t.Errorf("%s: %d %s, want %d %q", tt.name, got.status, got.body, tt.status, tt.text)
		}
	}
	if len(w.Faults()) != 0 {
		t.Errorf("refused faults are active: %v", w.Faults())
	}
}
