package simulator_test

import (
	"testing"
	"time"

	"shares/simulator"
)

// works returns the errcode of a call with a token; 0 means success.
func (w *wechat) works(t testing.TB, token string) int {
	t.Helper()
	return w.do(t, "POST", qrURL(token), `{"scene":"a"}`).errcode
}

func TestStableTokenNormalMode(t *testing.T) {
	w := newWeChat(simulator.Options{})
	first, left := w.token(t, false)
	if left != 7200 {
		t.Errorf("expires_in %d, want 7200", left)
	}
	w.advance(6900 * time.Second)
	same, left := w.token(t, false)
	if same != first || left != 300 {
		t.Errorf("5 minutes before its end: same %v, expires_in %d; want the same token and 300", same == first, left)
	}
	w.advance(time.Second)
	second, left := w.token(t, false)
	if second == first || left != 7200 {
		t.Errorf("in its last 5 minutes: same %v, expires_in %d; want another token and 7200", second == first, left)
	}
	if a, b := w.works(t, first), w.works(t, second); a != 0 || b != 0 {
		t.Errorf("in the overlap the tokens get %d and %d, want both to work", a, b)
	}
	w.advance(299 * time.Second)
	if a, b := w.works(t, first), w.works(t, second); a != 42001 || b != 0 {
		t.Errorf("after the overlap the tokens get %d and %d, want 42001 and success", a, b)
	}
}

func TestStableTokenForced(t *testing.T) {
	w := newWeChat(simulator.Options{})
	before, _ := w.token(t, false)
	w.advance(6901 * time.Second)
	first, _ := w.token(t, false) // both live now
	second, left := w.token(t, true)
	if second == first || left != 7200 {
		t.Errorf("forced: same %v, expires_in %d; want another token and 7200", second == first, left)
	}
	if a, b, c := w.works(t, before), w.works(t, first), w.works(t, second); a != 40001 || b != 40001 || c != 0 {
		t.Errorf("the tokens get %d, %d, %d; want 40001, 40001 and success", a, b, c)
	}
	if same, _ := w.token(t, false); same != second {
		t.Error("normal mode does not return the forced token")
	}
	if got := w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(true)).errcode; got != 45009 {
		t.Errorf("forced twice within 30 s: %d, want 45009", got)
	}
	for range 19 {
		w.advance(30 * time.Second)
		w.token(t, true)
	}
	w.advance(30 * time.Second)
	if got := w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(true)).errcode; got != 45009 {
		t.Errorf("forced 21 times a day: %d, want 45009", got)
	}
	if got := w.do(t, "POST", "/cgi-bin/stable_token", tokenBody(false)).errcode; got != 0 {
		t.Errorf("normal mode afterwards: %d, want success", got)
	}
	w.advance(24 * time.Hour)
	w.token(t, true)
}

func TestPlainToken(t *testing.T) {
	w := newWeChat(simulator.Options{})
	stable, _ := w.token(t, false)
	get := func() string {
		token, left := tokenOf(t, w.do(t, "GET", plainTokenURL, ""))
		if left != 7200 {
			t.Errorf("expires_in %d, want 7200", left)
		}
		return token
	}
	first := get()
	second := get()
	if first == second || first == stable {
		t.Fatal("got the same token twice")
	}
	w.advance(299 * time.Second)
	if a, b := w.works(t, first), w.works(t, second); a != 0 || b != 0 {
		t.Errorf("within 5 minutes the tokens get %d and %d, want both to work", a, b)
	}
	w.token(t, true)
	w.advance(time.Second)
	if a, b, c := w.works(t, first), w.works(t, second), w.works(t, stable); a != 40001 || b != 0 || c != 40001 {
		t.Errorf("after 5 minutes and a forced stable token they get %d, %d, %d; want 40001, success, 40001", a, b, c)
	}
}

func TestRotateToken(t *testing.T) {
	w := newWeChat(simulator.Options{})
	first, _ := w.token(t, false)
	plain, _ := tokenOf(t, w.do(t, "GET", plainTokenURL, ""))
	w.RotateToken()
	if a, b := w.works(t, first), w.works(t, plain); a != 40001 || b != 40001 {
		t.Errorf("rotated tokens get %d and %d, want 40001", a, b)
	}
	second, left := w.token(t, false)
	if second == first || left != 7200 || w.works(t, second) != 0 {
		t.Error("stable_token does not return a new, working token after a rotation")
	}
}

func TestShortTokens(t *testing.T) {
	w := newWeChat(simulator.Options{TokenLifetime: 24 * time.Second})
	first, left := w.token(t, false)
	w.advance(23 * time.Second)
	same, _ := w.token(t, false)
	w.advance(time.Second)
	other, _ := w.token(t, false)
	if left != 24 || same != first || other == first {
		t.Errorf("expires_in %d, kept %v, renewed %v", left, same == first, other != first)
	}
}
