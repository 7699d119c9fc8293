package simulator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/simulator"
)

// stable calls stable_token and returns the token and its remaining lifetime in seconds.
func (w *wechat) stable(t testing.TB, force bool) (string, int) {
	t.Helper()
	return tokenOf(t, w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(force)))
}

// work fails the test unless calls with the tokens return these errcodes; 0 means success.
func (w *wechat) work(t testing.TB, when string, want []int, tokens ...string) {
	t.Helper()
	var got []int
	for _, token := range tokens {
		got = append(got, w.do(t, "POST", qrURL(token), `{"scene":"a"}`).errcode)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errcodes of the tokens %s (-want +got):\n%s", when, diff)
	}
}

func TestStableTokenNormalMode(t *testing.T) {
	w := newWeChat(simulator.Options{})
	first, left := w.stable(t, false)
	if left != 7200 {
		t.Errorf("expires_in %d, want 7200", left)
	}
	w.advance(6900 * time.Second)
	if same, left := w.stable(t, false); same != first || left != 300 {
		t.Errorf("5 minutes before its end: same %v, expires_in %d; want the same token and 300", same == first, left)
	}
	w.advance(time.Second)
	second, left := w.stable(t, false)
	if second == first || left != 7200 {
		t.Errorf("in its last 5 minutes: same %v, expires_in %d; want another token and 7200", second == first, left)
	}
	w.work(t, "in the overlap", []int{0, 0}, first, second)
	w.advance(299 * time.Second)
	w.work(t, "after the overlap", []int{42001, 0}, first, second)
}

func TestStableTokenForced(t *testing.T) {
	w := newWeChat(simulator.Options{})
	before := w.token(t, false)
	w.advance(6901 * time.Second)
	first := w.token(t, false) // both live now
	second, left := w.stable(t, true)
	if second == first || left != 7200 {
		t.Errorf("forced: same %v, expires_in %d; want another token and 7200", second == first, left)
	}
	w.work(t, "after a forced refresh", []int{40001, 40001, 0}, before, first, second)
	if w.token(t, false) != second {
		t.Error("normal mode does not return the forced token")
	}
	refused := func(when string, force bool, want int) {
		t.Helper()
		if got := w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(force)).errcode; got != want {
			t.Errorf("%s: errcode %d, want %d", when, got, want)
		}
	}
	refused("forced twice within 30 s", true, 45009)
	for range 19 {
		w.advance(30 * time.Second)
		w.token(t, true)
	}
	w.advance(30 * time.Second)
	refused("forced 21 times a day", true, 45009)
	refused("normal mode afterwards", false, 0)
	w.advance(24 * time.Hour)
	refused("forced a day later", true, 0)
}

func TestPlainToken(t *testing.T) {
	w := newWeChat(simulator.Options{})
	stable := w.token(t, false)
	get := func() string {
		token, left := tokenOf(t, w.do(t, "GET", plainTokenURL, ""))
		if left != 7200 {
			t.Errorf("expires_in %d, want 7200", left)
		}
		return token
	}
	first, second := get(), get()
	if first == second || first == stable {
		t.Fatal("got the same token twice")
	}
	w.advance(299 * time.Second)
	w.work(t, "within 5 minutes", []int{0, 0}, first, second)
	w.token(t, true)
	w.advance(time.Second)
	w.work(t, "after 5 minutes and a forced stable token", []int{40001, 0, 40001}, first, second, stable)

	w.RotateToken()
	renewed, left := w.stable(t, false)
	w.work(t, fmt.Sprintf("after a rotation, with %d seconds left", left), []int{40001, 0}, second, renewed)
}

func TestShortTokens(t *testing.T) {
	w := newWeChat(simulator.Options{TokenLifetime: 24 * time.Second})
	first, left := w.stable(t, false)
	w.advance(23 * time.Second)
	same := w.token(t, false)
	w.advance(time.Second)
	if other := w.token(t, false); left != 24 || same != first || other == first {
		t.Errorf("expires_in %d, kept %v, renewed %v", left, same == first, other != first)
	}
}
