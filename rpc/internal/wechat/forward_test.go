package wechat

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"shares/internal/reason"
	"shares/simulator"
)

// net/http repeats a GET after a broken connection, but WeChat may have acted on it.
func TestForwardRepeatsNoGet(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	var calls atomic.Int32
	wechat := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == stablePath:
			w.sim.ServeHTTP(rw, r)
		case calls.Add(1) > 1:
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(wechat.Close)
	path := w.client(func(o *Options) { o.BaseURL = wechat.URL }).Path("/cgi-bin")
	for _, want := range []string{"ok", string(reason.Unavailable)} {
		err := path.Forward(t.Context(), http.MethodGet, "/cgi-bin/menu/delete", url.Values{}, "", nil, func(*http.Response) {})
		if got := w.failed(err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("WeChat was called %d times for 2 requests", n)
	}
}

// Answers that would show the access token, or lead elsewhere, are not passed on.
func TestForwardKeepsTheToken(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	var answer func(rw http.ResponseWriter, token string)
	wechat := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == stablePath {
			w.sim.ServeHTTP(rw, r)
			return
		}
		if got := r.Header.Get("Authorization") + r.Header.Get("X-Smuggled"); got != "" || r.ContentLength != 2 {
			t.Errorf("WeChat got headers of the caller: %q, length %d", got, r.ContentLength)
		}
		answer(rw, r.URL.Query().Get("access_token"))
	}))
	t.Cleanup(wechat.Close)
	for name, tt := range map[string]struct {
		answer func(rw http.ResponseWriter, token string)
		want   reason.Reason // empty: passed on
	}{
		"an answer": {func(rw http.ResponseWriter, _ string) { _, _ = io.WriteString(rw, `{"errcode":0}`) }, ""},
		"a redirect": {func(rw http.ResponseWriter, token string) {
			rw.Header().Set("Location", "/?"+token)
			rw.WriteHeader(302)
		}, reason.WechatBadAnswer},
		"the token": {func(rw http.ResponseWriter, token string) { _, _ = io.WriteString(rw, "<p>"+token) }, reason.WechatBadAnswer},
		"not found": {func(rw http.ResponseWriter, token string) { rw.WriteHeader(404) }, reason.WechatBadAnswer},
		"down":      {func(rw http.ResponseWriter, token string) { rw.WriteHeader(502) }, reason.Unavailable},
	} {
		c := w.client(func(o *Options) { o.BaseURL = wechat.URL })
		answer = tt.answer
		passed := ""
		err := c.Path("/wxa").Forward(t.Context(), http.MethodPost, "/wxa/a", url.Values{}, "", []byte("{}"), func(rsp *http.Response) {
			body, _ := io.ReadAll(rsp.Body)
			passed = string(body)
		})
		if got := strings.TrimPrefix(w.failed(err), "ok"); got != string(tt.want) || (passed != "") != (tt.want == "") {
			t.Errorf("%s: %s, passed on %q, want %q", name, got, passed, tt.want)
		}
	}
}
