package wechat

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"shares/simulator"
)

func TestCode2Session(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	code := w.sim.Code("alice", simulator.WithUnionID("u1"))
	openid, unionid, err := c.Code2Session(t.Context(), code, "")
	if want := w.sim.OpenID("alice"); err != nil || openid != want || unionid != "u1" {
		t.Errorf("got %s, %s, %v, want %s and u1", openid, unionid, err, want)
	}
	used := w.sim.Code("alice")
	for _, tc := range []struct{ name, code, want string }{
		{"good", used, "ok"},
		{"used", used, "LOGIN_CODE_REFUSED"},
		{"unknown", "no-such-code", "LOGIN_CODE_REFUSED"},
		{"blocked", w.sim.Code("mallory", simulator.Blocked()), "USER_BLOCKED"},
	} {
		if _, _, err := c.Code2Session(t.Context(), tc.code, ""); w.failed(err) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestUnlimitedCode(t *testing.T) {
	const scene = "from=alice"
	w := newWorld(t, simulator.Options{Pages: []string{"pages/index/index"}})
	c := w.client(nil)
	for name, tc := range map[string]struct {
		params CodeParams
		want   string // format and width, or the error
	}{
		"least": {CodeParams{Scene: scene}, "jpeg 430"},
		"published": {CodeParams{
			Scene: scene, Page: "pages/index/index", CheckPath: true, EnvVersion: "trial", Width: 280,
		}, "jpeg 280"},
		"unchecked": {CodeParams{
			Scene: scene, Page: "pages/new/new", LineColor: [3]byte{255, 0, 7},
		}, "jpeg 430"},
		"hyaline": {CodeParams{Scene: scene, IsHyaline: true, Width: 300}, "png 300"},

		"scene missing":  {CodeParams{}, "INVALID_FIELD scene"},
		"scene alphabet": {CodeParams{Scene: "100%"}, "INVALID_FIELD scene"},
		"page unpublished": {
			CodeParams{Scene: scene, Page: "pages/new/new", CheckPath: true}, "INVALID_FIELD page",
		},
		"width": {CodeParams{Scene: scene, Width: 9999}, "INTERNAL"},
	} {
		data, err := c.UnlimitedCode(t.Context(), tc.params)
		got := w.failed(err)
		if err == nil {
			config, format, _ := image.DecodeConfig(bytes.NewReader(data))
			got = fmt.Sprint(format, " ", config.Width)
		}
		if got != tc.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, tc.want)
		}
	}
	if n := w.calls(stablePath); n != 1 {
		t.Errorf("%d calls of stable_token, want 1", n)
	}
}

func TestPhoneNumber(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	for i, phone := range []string{
		testPhone, testPhone, "+852 61234567", "+852 61234567", "+1 2025550123",
	} {
		// Every second country code of the simulator is a JSON number.
		want := []string{"+86" + testPhone, "+85261234567", "+12025550123"}[i/2]
		code := w.sim.PhoneCode(phone)
		w.note(code, want)
		got, err := c.PhoneNumber(t.Context(), code)
		if err != nil || got != want {
			t.Errorf("PhoneNumber for %s = %q, %v, want %q", phone, got, err, want)
		}
		if _, err := c.PhoneNumber(t.Context(), code); w.failed(err) != "LOGIN_CODE_REFUSED" {
			t.Errorf("a used phone code: got %v, want LOGIN_CODE_REFUSED", err)
		}
	}
	_, err := c.PhoneNumber(t.Context(), w.sim.AppPhoneCode("wxother", testPhone))
	if w.failed(err) != "LOGIN_CODE_REFUSED" {
		t.Errorf("a code of another app: %v", err)
	}
}

func TestIsRisky(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	alice := w.alice(c)
	for content, want := range map[string]bool{
		"小明": false, `quotes " and <tags> & 😀`: false, "to review": false, "违规": true,
	} {
		got, err := c.IsRisky(t.Context(), alice, content)
		if err != nil || got != want {
			t.Errorf("IsRisky(%q) = %v, %v, want %v", content, got, err, want)
		}
	}
	if _, err := c.IsRisky(t.Context(), w.sim.OpenID("bob"), "小明"); w.failed(err) != "INTERNAL" {
		t.Errorf("an inactive user: got %v, want INTERNAL", err)
	}
}

// Every errcode has one meaning per operation; "" is the meaning for all other operations. Only
// errcodes about the app's settings have a hint.
func TestErrcodes(t *testing.T) {
	const settings = "UNAVAILABLE, with a hint"
	for errcode, want := range map[int]map[string]string{
		-1:    {"": "UNAVAILABLE"},
		40029: {"": "LOGIN_CODE_REFUSED"},
		40163: {"": "LOGIN_CODE_REFUSED"},
		41008: {"": "LOGIN_CODE_REFUSED"},
		40226: {"": "USER_BLOCKED"},
		45009: {"": "RATE_LIMITED", "token": "UNAVAILABLE"},
		45011: {"": "RATE_LIMITED", "token": "UNAVAILABLE"},
		61010: {"": "INTERNAL"},
		40013: {"": settings, "phone": "LOGIN_CODE_REFUSED"},
		40125: {"": settings},
		40243: {"": settings},
		40164: {"": settings},
		41002: {"": settings},
		41004: {"": settings},
		48001: {"": settings},
		40001: {"": "UNAVAILABLE", "token": settings, "login": settings},
		42001: {"": "UNAVAILABLE"},
		40169: {"": "INTERNAL", "code": "INVALID_FIELD scene"},
		40129: {"": "INTERNAL", "code": "INVALID_FIELD scene"},
		41030: {"": "INTERNAL", "code": "INVALID_FIELD page"},
		85096: {"": "INTERNAL", "code": "INVALID_FIELD page"},
		99999: {"": "INTERNAL"},
	} {
		for _, op := range operations {
			body := fmt.Sprintf(`{"errcode":%d,"errmsg":"no, rid: 652d44d0-1d0af18b-5b069232"}`, errcode)
			err := answered(t, op.name, 200, "text/plain", body)
			got := outcome(err)
			if e, ok := errors.AsType[*Error](err); ok && e.Hint() != "" {
				got += ", with a hint"
			}
			if want := cmp.Or(want[op.name], want[""]); got != want {
				t.Errorf("%d, %s: got %s, want %s", errcode, op.name, got, want)
			}
			text := fmt.Sprintf("errcode %d: rid: 652d44d0-1d0af18b-5b069232", errcode)
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%v does not say %q", err, text)
			}
		}
	}
}

func TestMisconfigurationIsLoggedWithHint(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	w.sim.SetFault(stablePath, simulator.Fault{
		Kind: simulator.FaultErrcode, Errcode: 40164,
		Errmsg: "invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist",
	})
	wantMetric := func(want int) {
		t.Helper()
		if n := testutil.CollectAndCount(c.metrics.misconfigured); n != want {
			t.Errorf("%d series of misconfigured, want %d", n, want)
		}
	}
	for range 3 {
		err := operations[1].do(t.Context(), w, c)
		e, ok := errors.AsType[*Error](err)
		if w.failed(err) != "UNAVAILABLE" || !ok || !strings.HasSuffix(e.Hint(), ": 203.0.113.9") ||
			strings.Contains(err.Error(), "203.0.113.9") {
			t.Errorf("got %v, want UNAVAILABLE with the address only in the hint", err)
		}
	}
	if n := strings.Count(w.log.String(), "203.0.113.9"); n != 1 {
		t.Errorf("%d log lines, want one a minute:\n%s", n, &w.log)
	}
	wantMetric(1)
	w.alice(c) // another endpoint's success does not reset the metric
	wantMetric(1)
	w.sim.ClearFaults()
	if err := c.CheckToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantMetric(0)
}

// A refused code of a mini program with another AppID is logged once a minute, without the code.
func TestCodeOfAnotherApp(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	w.note("code-of-a-user")
	explained := func() int {
		return strings.Count(w.log.String(), "40029: the code belongs to another AppID")
	}
	for _, same := range []string{"", testAppID} {
		_, _, err := c.Code2Session(t.Context(), "code-of-a-user", same)
		if w.failed(err) != "LOGIN_CODE_REFUSED" {
			t.Errorf("%q: %v", same, err)
		}
	}
	_, _, err := c.Code2Session(t.Context(), w.sim.Code("alice"), "wxother")
	if err != nil || explained() != 0 {
		t.Errorf("a good code: got %v and this log:\n%s", err, &w.log)
	}
	for range 3 {
		_, _, err := c.Code2Session(t.Context(), "code-of-a-user", "wxother")
		if w.failed(err) != "LOGIN_CODE_REFUSED" {
			t.Error(err)
		}
	}
	ids := "client_appid=wxother wechat_appid=" + testAppID
	if explained() != 1 || !strings.Contains(w.log.String(), ids) {
		t.Errorf("logged %d times, want once with both AppIDs:\n%s", explained(), &w.log)
	}
	if n := testutil.ToFloat64(c.metrics.otherApp); n != 3 {
		t.Errorf("counted %v, want 3", n)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	reg := prometheus.NewPedanticRegistry()
	c := w.client(func(o *Options) { o.Metrics = reg })
	login := func() string { return w.failed(operations[0].do(t.Context(), w, c)) }
	login()
	_, _, err := c.Code2Session(t.Context(), "unknown-code", "")
	w.failed(err)
	if err := operations[1].do(t.Context(), w, c); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []simulator.Fault{
		{Kind: simulator.FaultErrcode, Errcode: 77777, Times: 1}, {Kind: simulator.FaultReset, Times: 1},
	} {
		w.sim.SetFault("*", fault)
		login()
	}
	if err := c.CheckToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP shares_wechat_calls_total Calls to WeChat by endpoint and errcode: 0, a known errcode, other, or the reason of a failure without one.
# TYPE shares_wechat_calls_total counter
shares_wechat_calls_total{endpoint="getwxacodeunlimit",errcode="0"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="0"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="40029"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="other"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="UNAVAILABLE"} 1
shares_wechat_calls_total{endpoint="stable_token",errcode="0"} 2
# HELP shares_wechat_token_fetches_total Calls of stable_token by reason: cold, refresh, rejected, forced or check.
# TYPE shares_wechat_token_fetches_total counter
shares_wechat_token_fetches_total{reason="check"} 1
shares_wechat_token_fetches_total{reason="cold"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"shares_wechat_calls_total", "shares_wechat_token_fetches_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "shares_wechat_call_seconds"); err != nil || n != 3 {
		t.Errorf("got durations of %d endpoints, %v, want 3", n, err)
	}
}

func TestBadBaseURLIsNotPrinted(t *testing.T) {
	_, err := New(Options{BaseURL: "http://" + testSecret + "\x7f"})
	if err == nil || strings.Contains(err.Error(), testSecret) {
		t.Errorf("got %v, want an error without the URL", err)
	}
}

// FuzzAnswers gives every call an arbitrary answer. No call may panic. An error is an *Error that
// repeats nothing of the answer. A success is usable.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"errcode":-1}`, `{"errcode":9999999999999999999}`,
		`{"errcode":40029,"errmsg":"invalid code, rid: 652d44d0-1d0af18b-5b069232"}`,
		`{"errcode":40164,"errmsg":"invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 1"}`,
		`{"openid":"oMarker","session_key":"marker","unionid":"uMarker"}`,
		`{"result":{"suggest":"pass","label":100}}`,
		`{"errcode":0,"phone_info":{"countryCode":"852","purePhoneNumber":"61234567"}}`,
		"\xff\xd8\xff\xe0", "\x89PNG\r\n\x1a\n",
	} {
		f.Add(200, "application/json", body)
	}
	f.Add(502, "text/plain", "{}")
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		if status < 100 || status > 999 {
			return
		}
		c := newClient(t, Options{Transport: answerWith{"", status, contentType, body}})
		check := func(err error, usable bool) {
			text := outcome(err)
			switch {
			case err == nil && !usable:
				t.Error("success without a usable answer")
			case strings.HasPrefix(text, "an error of another type"),
				strings.Contains(fmt.Sprint(err), "good-token"), strings.Contains(fmt.Sprint(err), "arker"):
				t.Errorf("the error has the wrong type or repeats a secret: %v", err)
			}
		}
		ctx := context.Background()
		openid, _, err := c.Code2Session(ctx, "code-marker", "")
		check(err, validID.MatchString(openid))
		data, err := c.UnlimitedCode(ctx, CodeParams{Scene: "marker"})
		check(err, err != nil || checkImage(data) == nil)
		phone, err := c.PhoneNumber(ctx, "phone-marker")
		check(err, len(phone) >= 3 && len(phone) <= 16)
		_, err = c.IsRisky(ctx, "oMarker", "text-marker")
		check(err, true)
	})
}
