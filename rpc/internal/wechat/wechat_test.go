package wechat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"shares/simulator"
)

const scene = "from=alice"

func TestCode2Session(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)

	got, err := c.Code2Session(t.Context(), w.sim.Code("alice"), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Identity{OpenID: w.sim.OpenID("alice")}, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}

	got, err = c.Code2Session(t.Context(), w.sim.Code("bob", simulator.WithUnionID("")), "")
	if err != nil {
		t.Fatal(err)
	}
	if got.OpenID != w.sim.OpenID("bob") {
		t.Errorf("openid of bob is %q, want %q", got.OpenID, w.sim.OpenID("bob"))
	}

	used := w.sim.Code("alice")
	if _, err := c.Code2Session(t.Context(), used, ""); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		code string
		want Kind
	}{
		"empty":   {"", CodeRefused},
		"unknown": {"no-such-code", CodeRefused},
		"used":    {used, CodeRefused},
		"blocked": {w.sim.Code("mallory", simulator.Blocked()), Blocked},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Code2Session(t.Context(), tc.code, "")
			if got := w.failed(err); got != tc.want {
				t.Errorf("kind of %v is %v, want %v", err, got, tc.want)
			}
		})
	}
}

func TestUnlimitedCode(t *testing.T) {
	w := newWorld(t, simulator.Options{Pages: []string{"pages/index/index"}})
	c := w.client(nil)
	for name, tc := range map[string]struct {
		params    CodeParams
		wantType  string
		wantWidth int
	}{
		"least":     {CodeParams{Scene: scene}, "image/jpeg", 430},
		"published": {CodeParams{Scene: scene, Page: "pages/index/index", CheckPath: true, EnvVersion: "trial", Width: 280}, "image/jpeg", 280},
		"unchecked": {CodeParams{Scene: scene, Page: "pages/new/new", LineColor: Color{R: 255, B: 7}}, "image/jpeg", 430},
		"hyaline":   {CodeParams{Scene: scene, IsHyaline: true, Width: 300}, "image/png", 300},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.UnlimitedCode(t.Context(), tc.params)
			if err != nil {
				t.Fatal(err)
			}
			config, format, err := image.DecodeConfig(bytes.NewReader(got.Data))
			if err != nil {
				t.Fatal(err)
			}
			if got.ContentType != tc.wantType || "image/"+format != tc.wantType || config.Width != tc.wantWidth {
				t.Errorf("got %s, %s, width %d, want %s, width %d", got.ContentType, format, config.Width, tc.wantType, tc.wantWidth)
			}
		})
	}
	for name, tc := range map[string]struct {
		params CodeParams
		field  string
	}{
		"scene missing":    {CodeParams{}, "scene"},
		"scene too long":   {CodeParams{Scene: strings.Repeat("a", 33)}, "scene"},
		"scene alphabet":   {CodeParams{Scene: "100%"}, "scene"},
		"page unpublished": {CodeParams{Scene: scene, Page: "pages/new/new", CheckPath: true}, "page"},
		"width":            {CodeParams{Scene: scene, Width: 9999}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.UnlimitedCode(t.Context(), tc.params)
			if got := w.failed(err); got != InvalidArgument {
				t.Errorf("kind of %v is %v, want %v", err, got, InvalidArgument)
			}
			var e *Error
			if errors.As(err, &e) && e.Field != tc.field {
				t.Errorf("field is %q, want %q", e.Field, tc.field)
			}
		})
	}
	if n := w.calls("/cgi-bin/stable_token"); n != 1 {
		t.Errorf("%d calls of stable_token, want 1", n)
	}
}

func TestPhoneNumber(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	for i, phone := range []string{testPhone, testPhone, "+852 61234567", "+852 61234567", "+1 2025550123"} {
		// Every second country code of the simulator is a JSON number.
		want := []string{"+86" + testPhone, "+85261234567", "+12025550123"}[i/2]
		code := w.sim.PhoneCode(phone)
		w.note(code, want)
		got, err := c.PhoneNumber(t.Context(), code)
		if err != nil || got != want {
			t.Errorf("PhoneNumber for %s = %q, %v, want %q", phone, got, err, want)
		}
		if _, err := c.PhoneNumber(t.Context(), code); w.failed(err) != CodeRefused {
			t.Errorf("a used phone code: %v, want %v", err, CodeRefused)
		}
	}
	for name, tc := range map[string]struct {
		code string
		want Kind
	}{
		"empty":          {"", CodeRefused},
		"of another app": {w.sim.AppPhoneCode("wxother", testPhone), CodeRefused},
		"no number":      {w.sim.PhoneCode("not-a-phone"), BadAnswer},
	} {
		w.note(tc.code)
		if _, err := c.PhoneNumber(t.Context(), tc.code); w.failed(err) != tc.want {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestCheckText(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	c := w.client(nil)
	alice := w.alice(c)
	for content, want := range map[string]Verdict{
		"":                                 Pass,
		"小明":                               Pass,
		`quotes " and <tags> & 😀`:          Pass,
		"to review":                        Review,
		"违规":                               Risky,
		strings.Repeat("字", maxTextLength): Pass,
	} {
		got, err := c.CheckText(t.Context(), alice, content)
		if err != nil || got != want {
			t.Errorf("CheckText(%.20q) = %q, %v, want %q", content, got, err, want)
		}
	}
	for name, tc := range map[string]struct {
		openid, content string
		want            Kind
	}{
		"too long":      {alice, strings.Repeat("字", maxTextLength+1), InvalidArgument},
		"bad openid":    {"nobody", "小明", InvalidArgument},
		"not logged in": {w.sim.OpenID("bob"), "小明", Inactive},
	} {
		if _, err := c.CheckText(t.Context(), tc.openid, tc.content); w.failed(err) != tc.want {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// operation is a call of a Client that must succeed when nothing is wrong. Its codes are fresh each time.
type operation struct {
	name string
	path string
	do   func(context.Context, *world, *Client) error
}

func operations() []operation {
	return []operation{
		{"Code2Session", "/sns/jscode2session", func(ctx context.Context, w *world, c *Client) error {
			id, err := c.Code2Session(ctx, w.sim.Code("alice"), "")
			if err == nil && id.OpenID == "" {
				return errors.New("no openid")
			}
			return err
		}},
		{"UnlimitedCode", "/wxa/getwxacodeunlimit", func(ctx context.Context, _ *world, c *Client) error {
			img, err := c.UnlimitedCode(ctx, CodeParams{Scene: scene, Width: 280})
			if err == nil && len(img.Data) == 0 {
				return errors.New("no image")
			}
			return err
		}},
		{"PhoneNumber", "/wxa/business/getuserphonenumber", func(ctx context.Context, w *world, c *Client) error {
			code := w.sim.PhoneCode(testPhone)
			w.note(code)
			phone, err := c.PhoneNumber(ctx, code)
			if err == nil && phone != "+86"+testPhone {
				return errors.New("another phone number")
			}
			return err
		}},
		{"CheckText", "/wxa/msg_sec_check", func(ctx context.Context, w *world, c *Client) error {
			verdict, err := c.CheckText(ctx, w.sim.OpenID("alice"), "小明")
			if err == nil && verdict != Pass {
				return fmt.Errorf("verdict %q", verdict)
			}
			return err
		}},
		{"CheckToken", "/cgi-bin/stable_token", func(ctx context.Context, _ *world, c *Client) error { return c.CheckToken(ctx) }},
	}
}

func TestErrcodes(t *testing.T) {
	for _, tc := range []struct {
		errcode int
		want    map[string]Kind // by operation; "" is the rest
		field   string
	}{
		{-1, map[string]Kind{"": Unavailable}, ""},
		{40029, map[string]Kind{"": CodeRefused}, ""},
		{40163, map[string]Kind{"": CodeRefused}, ""},
		{41008, map[string]Kind{"": CodeRefused}, ""},
		{40226, map[string]Kind{"": Blocked}, ""},
		{45009, map[string]Kind{"": Busy, "CheckToken": Unavailable}, ""},
		{45011, map[string]Kind{"": Busy, "CheckToken": Unavailable}, ""},
		{61010, map[string]Kind{"": Inactive}, ""},
		{40013, map[string]Kind{"": Misconfigured, "PhoneNumber": CodeRefused}, ""},
		{40125, map[string]Kind{"": Misconfigured}, ""},
		{40243, map[string]Kind{"": Misconfigured}, ""},
		{40164, map[string]Kind{"": Misconfigured}, ""},
		{41002, map[string]Kind{"": Misconfigured}, ""},
		{41004, map[string]Kind{"": Misconfigured}, ""},
		{48001, map[string]Kind{"": Misconfigured}, ""},
		{40001, map[string]Kind{"": Unavailable, "CheckToken": Misconfigured, "Code2Session": Misconfigured}, ""},
		{42001, map[string]Kind{"": Unavailable}, ""},
		{40169, map[string]Kind{"": Unknown, "UnlimitedCode": InvalidArgument}, "scene"},
		{40129, map[string]Kind{"": Unknown, "UnlimitedCode": InvalidArgument}, "scene"},
		{41030, map[string]Kind{"": Unknown, "UnlimitedCode": InvalidArgument}, "page"},
		{85096, map[string]Kind{"": Unknown, "UnlimitedCode": InvalidArgument}, "page"},
		{40097, map[string]Kind{"": Unknown, "UnlimitedCode": InvalidArgument}, ""},
		{40003, map[string]Kind{"": Unknown, "CheckText": InvalidArgument}, "openid"},
		{99999, map[string]Kind{"": Unknown}, ""},
		{-80001, map[string]Kind{"": Unknown}, ""},
	} {
		t.Run(fmt.Sprint(tc.errcode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, simulator.Options{})
			c := w.client(nil)
			w.alice(c)
			for _, op := range operations() {
				want, ok := tc.want[op.name]
				if !ok {
					want = tc.want[""]
				}
				w.sim.SetFault(op.path, simulator.Fault{Kind: simulator.FaultTextJSON, Errcode: tc.errcode})
				err := op.do(t.Context(), w, c)
				w.sim.ClearFaults()
				if got := w.failed(err); got != want {
					t.Errorf("%s: kind of %v is %v, want %v", op.name, err, got, want)
				}
				var e *Error
				if errors.As(err, &e) && want == InvalidArgument && e.Field != tc.field {
					t.Errorf("%s: field is %q, want %q", op.name, e.Field, tc.field)
				}
				if hint := e.Hint(); (hint != "") != (want == Misconfigured) {
					t.Errorf("%s: hint of %v is %q", op.name, err, hint)
				}
				if want == Unknown && strings.Contains(err.Error(), fmt.Sprint(tc.errcode)) {
					t.Errorf("%s: the number of an unknown errcode is in %q", op.name, err)
				}
				if err := op.do(t.Context(), w, c); err != nil {
					t.Errorf("%s: call after the fault: %v", op.name, err)
				}
			}
			known := tc.want[""] != Unknown
			if logged := strings.Contains(w.log.String(), fmt.Sprintf("errcode=%d rid=", tc.errcode)); logged == known {
				t.Errorf("errcode %d as unknown in the log: %v, want %v", tc.errcode, logged, !known)
			}
		})
	}
}

func TestMisconfigurationIsLoggedWithItsRemedy(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	reg := prometheus.NewRegistry()
	now := newClock()
	c := w.client(func(o *Options) { o.Metrics, o.Now = reg, now.Now })
	w.sim.SetFault("/cgi-bin/stable_token", simulator.Fault{
		Kind: simulator.FaultErrcode, Errcode: 40164, Errmsg: "invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist",
	})
	gauge := func(want int) {
		t.Helper()
		text := fmt.Sprintf(`
# HELP shares_wechat_misconfigured 1 while WeChat answers with this errcode, which speaks of the app's settings; the log says what to do.
# TYPE shares_wechat_misconfigured gauge
shares_wechat_misconfigured{code="40164"} %d
`, want)
		if err := testutil.GatherAndCompare(reg, strings.NewReader(text), "shares_wechat_misconfigured"); err != nil {
			t.Error(err)
		}
	}
	lines := func() int { return strings.Count(w.log.String(), "203.0.113.9") }

	for range 3 {
		_, err := c.UnlimitedCode(t.Context(), CodeParams{Scene: scene})
		if w.failed(err) != Misconfigured {
			t.Fatalf("got %v, want %v", err, Misconfigured)
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), "203.0.113.9") || strings.Contains(err.Error(), "203.0.113.9") {
			t.Errorf("the address belongs into the hint and not into the text: %q, %v", e.Hint(), err)
		}
	}
	if lines() != 1 {
		t.Errorf("%d log lines, want one a minute:\n%s", lines(), &w.log)
	}
	gauge(1)
	now.advance(time.Minute)
	w.failed(c.CheckToken(t.Context()))
	if lines() != 2 {
		t.Errorf("%d log lines after a minute, want 2", lines())
	}
	w.alice(c) // another endpoint's success does not end the complaint
	gauge(1)
	w.sim.ClearFaults()
	if err := c.CheckToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	gauge(0)
}

// A refused code of a mini program with another AppID is explained: once a minute, without the code.
func TestCodeOfAnotherApp(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	reg := prometheus.NewRegistry()
	c := w.client(func(o *Options) { o.Metrics = reg })
	explained := func() int {
		return strings.Count(w.log.String(), "40029: the code belongs to another AppID")
	}
	for _, same := range []string{"", testAppID} {
		if _, err := c.Code2Session(t.Context(), "code-of-a-user", same); w.failed(err) != CodeRefused {
			t.Errorf("%q: %v, want %v", same, err, CodeRefused)
		}
	}
	if _, err := c.Code2Session(t.Context(), w.sim.Code("alice"), "wxother"); err != nil {
		t.Errorf("a good code: %v", err)
	}
	if explained() != 0 {
		t.Errorf("explained without cause:\n%s", &w.log)
	}
	w.note("code-of-a-user")
	for range 3 {
		if _, err := c.Code2Session(t.Context(), "code-of-a-user", "wxother"); w.failed(err) != CodeRefused {
			t.Errorf("%v, want %v", err, CodeRefused)
		}
	}
	if explained() != 1 || !strings.Contains(w.log.String(), "client_appid=wxother wechat_appid="+testAppID) {
		t.Errorf("explained %d times, want once with both AppIDs:\n%s", explained(), &w.log)
	}
	const want = `
# HELP shares_wechat_other_app_codes_total Login codes refused with 40029 whose mini program has another AppID than WECHAT_APPID.
# TYPE shares_wechat_other_app_codes_total counter
shares_wechat_other_app_codes_total 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_wechat_other_app_codes_total"); err != nil {
		t.Error(err)
	}
}

func TestWrongCredentials(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.note("a-wrong-secret")
	for name, change := range map[string]func(*Options){
		"appid":  func(o *Options) { o.AppID = "wx0000000000000000" },
		"secret": func(o *Options) { o.Secret = "a-wrong-secret" },
	} {
		c := w.client(change)
		for _, op := range operations() {
			if op.name == "CheckText" {
				continue // as UnlimitedCode, and the user is another app's
			}
			if err := op.do(t.Context(), w, c); w.failed(err) != Misconfigured {
				t.Errorf("wrong %s, %s: %v, want %v", name, op.name, err, Misconfigured)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	reg := prometheus.NewPedanticRegistry()
	c := w.client(func(o *Options) { o.Metrics = reg })
	w.alice(c)
	for _, code := range []string{"unknown-code-1", "unknown-code-2"} {
		w.failed(func() error { _, err := c.Code2Session(t.Context(), code, ""); return err }())
	}
	if err := operations()[1].do(t.Context(), w, c); err != nil {
		t.Fatal(err)
	}
	w.sim.SetFault("*", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 77777, Times: 1})
	w.failed(operations()[0].do(t.Context(), w, c))
	w.sim.SetFault("*", simulator.Fault{Kind: simulator.FaultReset, Times: 1})
	w.failed(operations()[0].do(t.Context(), w, c))
	if err := c.CheckToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP shares_wechat_calls_total Calls to WeChat by endpoint and errcode: 0, a known errcode, other, or the kind of a failure without one.
# TYPE shares_wechat_calls_total counter
shares_wechat_calls_total{endpoint="getwxacodeunlimit",errcode="0"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="0"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="40029"} 2
shares_wechat_calls_total{endpoint="jscode2session",errcode="other"} 1
shares_wechat_calls_total{endpoint="jscode2session",errcode="unavailable"} 1
shares_wechat_calls_total{endpoint="stable_token",errcode="0"} 2
# HELP shares_wechat_token_fetches_total Calls of stable_token by reason: cold, refresh, rejected, forced or check.
# TYPE shares_wechat_token_fetches_total counter
shares_wechat_token_fetches_total{reason="check"} 1
shares_wechat_token_fetches_total{reason="cold"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_wechat_calls_total", "shares_wechat_token_fetches_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "shares_wechat_call_seconds"); err != nil || n != 3 {
		t.Errorf("durations of %d endpoints, %v, want 3", n, err)
	}
}

func TestNothingPrintsTheSecret(t *testing.T) {
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, testSecret) {
			t.Errorf("%s prints the secret", verb)
		}
	}
	if _, err := New(Options{BaseURL: "http://" + testSecret + "\x7f"}); err == nil || strings.Contains(err.Error(), testSecret) {
		t.Errorf("a base URL that cannot be parsed: %v", err)
	}
}
