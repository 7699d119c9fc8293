package wechat_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"shares/simulator"
)

// longest is more than WECHAT_TIMEOUT and less than the delay of a hanging WeChat.
const longest = 40 * time.Second

// TestFaults makes WeChat fail during one request. The request gets the documented error in time,
// nothing is stored, and the next request after the fault succeeds. A few successful calls between
// two faults keep the breakers closed.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.serve(t, nil)
	faults := []struct {
		fault        simulator.Fault
		status, code int
		calls        int // for a QR code: -1 and 5xx are retried once
	}{
		{simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute}, http.StatusGatewayTimeout, -1, 1},
		{simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, http.StatusServiceUnavailable, -1, 2},
		{simulator.Fault{Kind: simulator.FaultTextJSON, Errcode: 45009}, http.StatusTooManyRequests, 1094, 1},
		{simulator.Fault{Kind: simulator.FaultTruncated}, http.StatusBadGateway, -1, 1},
		{simulator.Fault{Kind: simulator.FaultReset}, http.StatusServiceUnavailable, -1, 1},
	}
	// The users of the second subtest log in before the first one breaks logins. There is one per
	// fault, because waiting uses up a user's rate limit.
	var collectors []user
	for i := range faults {
		collectors = append(collectors, r.login(t, fmt.Sprint("collector-", i)))
	}
	t.Run("login", func(t *testing.T) {
		t.Parallel()
		for i, tt := range faults {
			for range 4 {
				r.login(t, "regular")
			}
			name := fmt.Sprint("new-", i)
			before := w.wechat.Calls()[code2session]
			w.wechat.SetFault(code2session, tt.fault)
			got := timed(t, func() reply { return r.post(t, oauth, "", map[string]string{"jscode": w.code(name)}) })
			w.heal(code2session)
			got.refused(t, tt.status, tt.code)
			if n := w.wechat.Calls()[code2session] - before; n != 1 {
				t.Errorf("%s: the login code was sent %d times, want once", tt.fault.Kind, n)
			}
			if n := w.rows(t, w.wechat.OpenID(name)); n != 0 {
				t.Errorf("%s: %d rows after a failed login, want none", tt.fault.Kind, n)
			}
			r.login(t, name)
		}
	})
	t.Run("QR code", func(t *testing.T) {
		t.Parallel()
		for i, tt := range faults {
			u := collectors[i]
			scene := fmt.Sprint("failed-", i)
			r.post(t, getQrcode, u.session, qrcode{"pages/fault", fmt.Sprint("before-", i)}).ok(t)
			calls, pictures := w.wechat.Calls()[unlimitedCode], len(w.pictures(t))
			w.wechat.SetFault(unlimitedCode, tt.fault)
			get := func() reply { return r.post(t, getQrcode, u.session, qrcode{"pages/fault", scene}) }
			timed(t, get).refused(t, tt.status, tt.code)
			timed(t, get).refused(t, tt.status, tt.code) // the cached failure
			w.heal(unlimitedCode)
			if n := w.wechat.Calls()[unlimitedCode] - calls; n < 1 || n > tt.calls {
				t.Errorf("%s: %d calls of WeChat, want %d", tt.fault.Kind, n, tt.calls)
			}
			if got := w.pictures(t); len(got) != pictures {
				t.Errorf("%s: the bucket has %q, want only the %d pictures from before", tt.fault.Kind, got, pictures)
			}
			waitUntil(t, "the failed code is made", func() bool {
				got := get()
				return got.status == http.StatusOK && scan(t, r.picture(t, got.URL)) == simulator.CodeText("pages/fault", scene)
			})
		}
	})
}

// heal ends the fault of one endpoint. ClearFaults would also end the faults of parallel tests.
func (w *world) heal(endpoint string) {
	w.wechat.SetFault(endpoint, simulator.Fault{Kind: simulator.FaultDelay, Delay: 1})
}

func timed(t testing.TB, do func() reply) reply {
	t.Helper()
	start := time.Now()
	got := do()
	if took := time.Since(start); took > longest {
		t.Errorf("%v after %v, want at most %v", got, took, longest)
	}
	return got
}
