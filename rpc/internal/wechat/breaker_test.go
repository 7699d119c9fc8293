package wechat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestBreakerSparesADeadWeChat(t *testing.T) {
	for name, fail := range map[string]http.HandlerFunc{
		"5xx":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"nonsense": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"hanging":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var healthy atomic.Bool
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, phoneEndpoint):
					fmt.Fprint(w, `{"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000"}}`)
				case strings.HasSuffix(r.URL.Path, tokenEndpoint):
					fmt.Fprint(w, `{"access_token":"t","expires_in":7200}`)
				case healthy.Load():
					fmt.Fprint(w, `{"openid":"o1"}`)
				default:
					fail(w, r)
				}
			})
			c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL, Timeout: 50 * time.Millisecond})
			isOpen := func() bool {
				_, err := c.Code2Session(t.Context(), "code", "")
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("got %v, want an *Error", err)
				}
				return e.Kind == Unavailable && e.Reason == "breaker open"
			}
			eventually(t, "the breaker opens", isOpen)
			c.timeout = time.Minute
			if _, err := c.PhoneNumber(t.Context(), "code"); err != nil {
				t.Errorf("another endpoint suffers: %v", err)
			}
			healthy.Store(true)
			eventually(t, "the breaker lets calls through again", func() bool {
				_, err := c.Code2Session(t.Context(), "code", "")
				return err == nil
			})
		})
	}
}

func TestBreakerIgnoresUsersAndCallers(t *testing.T) {
	var answer atomic.Pointer[http.HandlerFunc]
	set := func(h http.HandlerFunc) { answer.Store(&h) }
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) })
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL, Timeout: time.Minute})

	for _, errcode := range []int{40029, 40226, 45011, 40013, 99999} {
		set(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"errcode":%d}`, errcode) })
		for range 50 {
			_, err := c.Code2Session(t.Context(), "code", "")
			if k := KindOf(err); err == nil || k == Unavailable {
				t.Fatalf("errcode %d: %v", errcode, err)
			}
		}
	}
	set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := c.Code2Session(ctx, "code", ""); KindOf(err) != Deadline {
			t.Fatalf("got %v, want %v", err, Deadline)
		}
		cancel()
	}
	set(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"openid":"o1"}`) })
	for range 50 {
		if _, err := c.Code2Session(t.Context(), "code", ""); err != nil {
			t.Fatalf("after users' and callers' faults: %v", err)
		}
	}
}
