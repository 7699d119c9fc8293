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

// fault is a fault of WeChat, and the answer to a request that meets it.
type fault struct {
	simulator.Fault
	status, code int
	calls        int // for a QR code: -1 and 5xx are retried once
}

// TestFaults makes WeChat fail during one request. The request gets the documented error in time,
// nothing is stored, and the next request after the fault succeeds. A few successful calls between
// two faults keep the breakers closed.
func TestFaults(t *testing.T) {
	t.Parallel()
	r := newWorld(t).serve(t, nil)
	for _, f := range []fault{
		{simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute}, http.StatusGatewayTimeout, -1, 1},
		{simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, http.StatusServiceUnavailable, -1, 2},
		{simulator.Fault{Kind: simulator.FaultTextJSON, Errcode: 45009}, http.StatusTooManyRequests, 1094, 1},
		{simulator.Fault{Kind: simulator.FaultTruncated}, http.StatusBadGateway, -1, 1},
		{simulator.Fault{Kind: simulator.FaultReset}, http.StatusServiceUnavailable, -1, 1},
	} {
		t.Run(fmt.Sprint(f.Kind), func(t *testing.T) {
			for range 4 {
				r.login(t, "regular")
			}
			testLoginFault(t, r, f)
			testCodeFault(t, r, f)
		})
	}
}

func testLoginFault(t *testing.T, r *replica, f fault) {
	name := fmt.Sprint("new-", f.Kind)
	before := r.wechat.Calls()[code2session]
	r.wechat.SetFault(code2session, f.Fault)
	got := timed(t, func() reply { return r.post(t, oauth, "", map[string]string{"jscode": r.code(name)}) })
	r.wechat.ClearFaults()
	got.refused(t, f.status, f.code)
	if n := r.wechat.Calls()[code2session] - before; n != 1 {
		t.Errorf("the login code was sent %d times, want once", n)
	}
	if n := r.rows(t, r.wechat.OpenID(name)); n != 0 {
		t.Errorf("%d rows after a failed login, want none", n)
	}
	r.login(t, name)
}

func testCodeFault(t *testing.T, r *replica, f fault) {
	u := r.login(t, fmt.Sprint("collector-", f.Kind)) // the wait below uses up the user's rate limit
	scene := fmt.Sprint("failed-", f.Kind)
	r.post(t, getQrcode, u.session, qrcode{"pages/fault", fmt.Sprint("before-", f.Kind)}).ok(t)
	calls, pictures := r.wechat.Calls()[unlimitedCode], len(r.pictures(t))
	r.wechat.SetFault(unlimitedCode, f.Fault)
	get := func() reply { return r.post(t, getQrcode, u.session, qrcode{"pages/fault", scene}) }
	timed(t, get).refused(t, f.status, f.code)
	if n := r.wechat.Calls()[unlimitedCode] - calls; n < 1 || n > f.calls {
		t.Errorf("%d calls of WeChat, want 1 to %d", n, f.calls)
	}
	r.wechat.ClearFaults()
	if got := r.pictures(t); len(got) != pictures {
		t.Errorf("the bucket has %q, want only the %d pictures from before", got, pictures)
	}
	waitUntil(t, "the failed code is made", func() bool {
		got := get()
		return got.status == http.StatusOK && scan(t, r.picture(t, got.URL)) == simulator.CodeText("pages/fault", scene)
	})
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
