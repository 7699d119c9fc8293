package wechat_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"shares/simulator"
)

// longest is more than WECHAT_TIMEOUT, and less than a WeChat that hangs takes.
const longest = 40 * time.Second

// TestFaults has WeChat fail in every way while one request is on. It gets the documented error in time, nothing is stored, and the
// next request after the fault is served. A few good calls stand between two faults: many failures in a row open the breakers, which
// is not what is looked at here.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.serve(t, nil)
	u := r.login(t, "collector")
	const away = -1 // the code of what is no one's fault

	t.Run("login", func(t *testing.T) {
		t.Parallel()
		for _, tt := range []struct {
			name         string
			fault        simulator.Fault
			status, code int
		}{
			{"delay", simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute}, http.StatusGatewayTimeout, away},
			{"slow body", simulator.Fault{Kind: simulator.FaultSlowBody, Delay: time.Minute}, http.StatusGatewayTimeout, away},
			{"-1", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, http.StatusServiceUnavailable, away},
			{"45009", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 45009}, http.StatusTooManyRequests, 1094},
			{"5xx HTML", simulator.Fault{Kind: simulator.FaultServerError}, http.StatusServiceUnavailable, away},
			{"text JSON", simulator.Fault{Kind: simulator.FaultTextJSON, Errcode: 45011}, http.StatusTooManyRequests, 1094},
			{"truncated", simulator.Fault{Kind: simulator.FaultTruncated}, http.StatusBadGateway, away},
			{"empty", simulator.Fault{Kind: simulator.FaultEmpty}, http.StatusBadGateway, away},
			{"reset", simulator.Fault{Kind: simulator.FaultReset}, http.StatusServiceUnavailable, away},
		} {
			t.Run(tt.name, func(t *testing.T) {
				for range 4 {
					r.login(t, "somebody")
				}
				name := "new, " + tt.name
				before := w.wechat.Calls()[code2session]
				w.wechat.SetFault(code2session, tt.fault)
				got := timed(t, func() reply { return r.post(t, oauth, "", map[string]string{"jscode": w.code(name)}) })
				w.heal(code2session)
				got.refused(t, tt.status, tt.code)
				if n := w.wechat.Calls()[code2session] - before; n != 1 {
					t.Errorf("the login code was sent %d times, want once", n)
				}
				if n := w.rows(t, w.wechat.OpenID(name)); n != 0 {
					t.Errorf("%d rows of a user who could not log in", n)
				}
				r.login(t, name)
			})
		}
	})

	t.Run("QR code", func(t *testing.T) {
		t.Parallel()
		failed := map[string]int{} // scene → how often WeChat was asked for it
		for i, tt := range []struct {
			name         string
			fault        simulator.Fault
			status, code int
			calls        int // -1 and 5xx are tried once more
		}{
			{"delay", simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute}, http.StatusGatewayTimeout, away, 1},
			{"slow body", simulator.Fault{Kind: simulator.FaultSlowBody, Delay: time.Minute}, http.StatusGatewayTimeout, away, 1},
			{"-1", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, http.StatusServiceUnavailable, away, 2},
			{"45009", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 45009}, http.StatusTooManyRequests, 1094, 1},
			{"5xx HTML", simulator.Fault{Kind: simulator.FaultServerError}, http.StatusServiceUnavailable, away, 2},
			{"text JSON", simulator.Fault{Kind: simulator.FaultTextJSON, Errcode: 45009}, http.StatusTooManyRequests, 1094, 1},
			{"truncated", simulator.Fault{Kind: simulator.FaultTruncated}, http.StatusBadGateway, away, 1},
			{"cut", simulator.Fault{Kind: simulator.FaultCutBody}, http.StatusBadGateway, away, 1},
			{"empty", simulator.Fault{Kind: simulator.FaultEmpty}, http.StatusBadGateway, away, 1},
			{"HTML", simulator.Fault{Kind: simulator.FaultHTML}, http.StatusBadGateway, away, 1},
			{"huge", simulator.Fault{Kind: simulator.FaultHuge}, http.StatusBadGateway, away, 1},
			{"reset", simulator.Fault{Kind: simulator.FaultReset}, http.StatusServiceUnavailable, away, 1},
		} {
			t.Run(tt.name, func(t *testing.T) {
				scene := fmt.Sprint("failed-", i)
				failed[scene] = tt.calls
				r.post(t, getQrcode, u.session, qrcode{"pages/fault", fmt.Sprint("before-", i)}).ok(t)
				calls, pictures := w.wechat.Calls()[unlimitedCode], len(w.pictures(t))
				w.wechat.SetFault(unlimitedCode, tt.fault)
				get := func() reply { return r.post(t, getQrcode, u.session, qrcode{"pages/fault", scene}) }
				timed(t, get).refused(t, tt.status, tt.code)
				timed(t, get).refused(t, tt.status, tt.code) // from memory
				w.heal(unlimitedCode)
				if n := w.wechat.Calls()[unlimitedCode] - calls; n < 1 || n > tt.calls {
					t.Errorf("%d calls of WeChat, want %d", n, tt.calls)
				}
				if got := w.pictures(t); len(got) != pictures {
					t.Errorf("the bucket holds %q, want no more than the %d before", got, pictures)
				}
				r.post(t, getQrcode, u.session, qrcode{"pages/fault", fmt.Sprint("after-", i)}).ok(t)
			})
		}
		for scene := range failed {
			waitUntil(t, "the code that failed is made", func() bool {
				got := r.post(t, getQrcode, u.session, qrcode{"pages/fault", scene})
				return got.status == http.StatusOK && scan(t, r.picture(t, got.URL)) == simulator.CodeText("pages/fault", scene)
			})
		}
	})
}

// heal ends the fault of one endpoint; ClearFaults would end those of tests that run beside this one, too.
func (w *world) heal(endpoint string) {
	w.wechat.SetFault(endpoint, simulator.Fault{Kind: simulator.FaultDelay, Delay: 1})
}

// timed fails the test when an answer takes too long.
func timed(t testing.TB, do func() reply) reply {
	t.Helper()
	start := time.Now()
	got := do()
	if took := time.Since(start); took > longest {
		t.Errorf("%v after %v, want at most %v", got, took, longest)
	}
	return got
}

// TestMisconfiguration has WeChat refuse what an operator has set. Users are told to try later, the operator what to do.
func TestMisconfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.serve(t, nil)
	u := r.login(t, "user")
	for i, tt := range []struct {
		errcode int
		todo    string
	}{
		{40013, "WECHAT_APPID is not an AppID that WeChat knows"},
		{40125, "WECHAT_SECRET is wrong"},
		{40243, "the AppSecret is frozen"},
		{40164, "IP whitelist (IP白名单) at mp.weixin.qq.com, 开发管理, 开发设置: 127.0.0.1"},
	} {
		t.Run(fmt.Sprint(tt.errcode), func(t *testing.T) {
			metric := fmt.Sprintf(`shares_wechat_misconfigured{code="%d",endpoint="jscode2session"}`, tt.errcode)
			w.wechat.SetFault("*", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: tt.errcode})
			timed(t, func() reply { return r.post(t, oauth, "", map[string]string{"jscode": w.code("user")}) }).
				refused(t, http.StatusServiceUnavailable, -1)
			timed(t, func() reply { return r.post(t, getQrcode, u.session, qrcode{"pages/settings", fmt.Sprint("bad-", i)}) }).
				refused(t, http.StatusServiceUnavailable, -1)
			if got := r.metric(t, metric); got != "1" {
				t.Errorf("metric %q, want 1", got)
			}
			waitUntil(t, "the log says what to do", func() bool { return strings.Contains(r.process.Output(), tt.todo) })
			w.wechat.ClearFaults()

			r.login(t, "user")
			r.post(t, getQrcode, u.session, qrcode{"pages/settings", fmt.Sprint("good-", i)}).ok(t)
			if got := r.metric(t, metric); got != "" {
				t.Errorf("metric %q after the settings were fixed, want none", got)
			}
		})
	}

	t.Run("wrong secret", func(t *testing.T) {
		const wrong = "0123456789abcdef-the-wrong-secret"
		secrets.Hide("app secret", wrong)
		r := w.serve(t, map[string]string{"WECHAT_SECRET": wrong})
		r.post(t, oauth, "", map[string]string{"jscode": w.code("other")}).refused(t, http.StatusServiceUnavailable, -1)
		waitUntil(t, "the log says what to do", func() bool { return strings.Contains(r.process.Output(), "WECHAT_SECRET is wrong") })
	})
}
