package wechat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shares/simulator"
)

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestCallersContextEndsTheRequest(t *testing.T) {
	arrived, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	c := newClient(t, Options{BaseURL: s.URL})
	for want, timeout := range map[string]time.Duration{
		"CANCELED": time.Hour, "DEADLINE_EXCEEDED": 3 * time.Second, // the request arrives before
	} {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		result := make(chan error)
		go func() {
			_, err := c.Code2Session(ctx, "code", "")
			result <- err
		}()
		<-arrived
		if want == "CANCELED" {
			cancel()
		}
		if err := <-result; outcome(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
		<-gone
		if _, err := c.Code2Session(ctx, "code", ""); outcome(err) != want {
			t.Errorf("a call after the end got %v, want %v", err, want)
		}
		cancel()
	}
}

func TestLoginCodeIsNeverSentTwice(t *testing.T) {
	var requests atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			fmt.Fprint(w, `{"openid":"o1","session_key":"k"}`)
			return
		}
		// The kept-alive connection breaks after the request was read.
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	c := newClient(t, Options{BaseURL: s.URL})
	if _, err := c.Code2Session(t.Context(), "first", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Code2Session(t.Context(), "second", ""); outcome(err) != "UNAVAILABLE" {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestRequests(t *testing.T) {
	var connections atomic.Int64
	w := &world{t: t, sim: simulator.New(simulator.Options{}), secrets: map[string]bool{}}
	s := httptest.NewUnstartedServer(nil)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 || r.Method == http.MethodPost && r.ContentLength <= 0 ||
			r.Method == http.MethodGet && r.ContentLength != 0 {
			t.Errorf("%s %s: length %d, transfer encoding %v",
				r.Method, r.URL.Path, r.ContentLength, r.TransferEncoding)
		}
		if want := strings.TrimPrefix(s.URL, "http://"); r.Host != want {
			t.Errorf("host is %q, want %q", r.Host, want)
		}
		http.StripPrefix("/weixin/api", w.sim).ServeHTTP(rw, r)
	})
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := newClient(t, Options{BaseURL: s.URL + "/weixin/api/"})
	for range 3 {
		for _, op := range operations {
			if err := op.do(t.Context(), w, c); err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for sequential calls, want 1", n)
	}
}

func TestAnswers(t *testing.T) {
	picture := image.NewGray(image.Rect(0, 0, 300, 300))
	var j, p bytes.Buffer
	if err := errors.Join(jpeg.Encode(&j, picture, nil), png.Encode(&p, picture)); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Clone(p.Bytes())
	copy(bomb[16:], "\x00\x00\xff\xff\x00\x00\xff\xff") // width and height; the checksum is wrong
	const login, code, phone, text, token = "login", "code", "phone", "text", "token"
	const ok, bad = "ok", "WECHAT_BAD_ANSWER"
	for name, tc := range map[string]struct {
		operation   string
		status      int
		contentType string
		body        string
		want        string
	}{
		"login": {
			login, 200, "text/plain",
			`{"openid":"o1","session_key":"k"}`, ok,
		},
		"login with status 201": {login, 201, "text/plain", `{"openid":"o1"}`, ok},
		"login good but 500": {
			login, 500, "application/json",
			`{"openid":"o1"}`, "UNAVAILABLE",
		},
		"login 403":                  {login, 403, "application/json", `{"openid":"o1"}`, bad},
		"login redirected":           {login, 302, "text/html", ``, bad},
		"login without openid":       {login, 200, "text/plain", `{"session_key":"k"}`, bad},
		"login empty":                {login, 200, "text/plain", ``, bad},
		"login with null":            {login, 200, "text/plain", `null`, bad},
		"login with a list":          {login, 200, "text/plain", `[]`, bad},
		"login with errcode as text": {login, 200, "text/plain", `{"errcode":"40029"}`, bad},
		"login with a number":        {login, 200, "text/plain", `{"openid":1}`, bad},
		"login with errcode 0": {
			login, 200, "text/plain",
			`{"errcode":0,"openid":"o1"}`, ok,
		},
		"login with hostile openid": {
			login, 200, "text/plain",
			`{"openid":"o1\n<script>"}`, bad,
		},
		"login with long openid": {
			login, 200, "text/plain",
			`{"openid":"` + strings.Repeat("o", 65) + `"}`, bad,
		},
		"login with hostile unionid": {
			login, 200, "text/plain",
			`{"openid":"o1","unionid":"' or 1"}`, bad,
		},
		"login and garbage": {login, 200, "text/plain", `{"openid":"o1"}<html>`, bad},
		"login too large": {
			login, 200, "text/plain",
			`{"openid":"o1","x":"` + strings.Repeat("x", maxJSONBytes) + `"}`, bad,
		},
		"login as an image":    {login, 200, "image/jpeg", j.String(), bad},
		"code as JPEG":         {code, 200, "image/jpeg", j.String(), ok},
		"code of a wrong type": {code, 200, "text/plain", p.String(), ok},
		"code error as image": {
			code, 200, "image/jpeg",
			`{"errcode":45009,"errmsg":"quota"}`, "RATE_LIMITED",
		},
		"code is HTML": {code, 200, "image/jpeg", `<html>`, bad},
		"code is JSON": {
			code, 200, "application/json",
			`{"errcode":0,"errmsg":"ok"}`, bad,
		},
		"code is GIF":                 {code, 200, "image/gif", "GIF89a", bad},
		"code is empty":               {code, 200, "image/jpeg", "", bad},
		"code without its last byte":  {code, 200, "image/jpeg", j.String()[:j.Len()-1], bad},
		"code without its last chunk": {code, 200, "image/png", p.String()[:p.Len()-12], bad},
		"code with impossible size":   {code, 200, "image/png", string(bomb), bad},
		"code too large": {
			code, 200, "image/png",
			p.String() + strings.Repeat("x", maxImageBytes), bad,
		},
		"phone": {
			phone, 200, "",
			`{"errcode":0,"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000"}}`, ok,
		},
		"phone of another app": {
			phone, 200, "",
			`{"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000","watermark":{"appid":"wx1"}}}`, bad,
		},
		"phone missing": {phone, 200, "", `{"errcode":0}`, bad},
		"phone with letters": {
			phone, 200, "",
			`{"phone_info":{"countryCode":"86","purePhoneNumber":"1380013800O"}}`, bad,
		},
		"phone without country": {
			phone, 200, "",
			`{"phone_info":{"purePhoneNumber":"13800138000"}}`, bad,
		},
		"phone too long": {
			phone, 200, "",
			`{"phone_info":{"countryCode":"852","purePhoneNumber":"1380013800012"}}`, bad,
		},
		"text": {
			text, 200, "",
			`{"errcode":0,"result":{"suggest":"risky","label":20006}}`, ok,
		},
		"text without verdict": {text, 200, "", `{"errcode":0,"errmsg":"ok"}`, bad},
		"text with an unknown verdict": {
			text, 200, "",
			`{"errcode":0,"result":{"suggest":"maybe"}}`, bad,
		},
		"token": {
			token, 200, "",
			`{"access_token":"75_Ab-c","expires_in":300}`, ok,
		},
		"token missing":     {token, 200, "", `{"expires_in":7200}`, bad},
		"token without end": {token, 200, "", `{"access_token":"75_Ab-c"}`, bad},
		"token with a line break": {
			token, 200, "",
			`{"access_token":"75_Ab-c\n","expires_in":7200}`, bad,
		},
		"token too long": {
			token, 200, "",
			`{"access_token":"` + strings.Repeat("a", 513) + `","expires_in":7200}`, bad,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, op := range operations {
				if op.name == tc.operation {
					endpoint := op.path[strings.LastIndexByte(op.path, '/')+1:]
					c := newClient(t, Options{Transport: answerWith{endpoint, tc.status, tc.contentType, tc.body}})
					w := &world{t: t, sim: simulator.New(simulator.Options{}), secrets: map[string]bool{}}
					if got := outcome(op.do(t.Context(), w, c)); got != tc.want {
						t.Errorf("got %s, want %s", got, tc.want)
					}
				}
			}
		})
	}
}

// A network fault fails the current operation but not the next one.
func TestNetworkFaults(t *testing.T) {
	var wg sync.WaitGroup // all cases run concurrently, because most only wait
	defer wg.Wait()
	for _, tc := range []struct {
		fault simulator.Fault
		want  string
	}{
		{simulator.Fault{Kind: simulator.FaultReset}, "UNAVAILABLE"},
		{simulator.Fault{Kind: simulator.FaultCutBody}, "WECHAT_BAD_ANSWER"},
		{simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute}, "DEADLINE_EXCEEDED"},
		{simulator.Fault{Kind: simulator.FaultSlowBody, Delay: time.Minute}, "DEADLINE_EXCEEDED"},
	} {
		for i, path := range []string{operations[0].path, operations[1].path, stablePath} {
			op := operations[min(i, 1)] // a QR code needs a token
			wg.Go(func() {
				w := newWorld(t, simulator.Options{})
				c := w.client(func(o *Options) { o.Timeout = 5 * time.Second })
				w.sim.SetFault(path, tc.fault)
				if err := op.do(t.Context(), w, c); w.failed(err) != tc.want {
					t.Errorf("%s, %s: %v, want %v", tc.fault.Kind, path, err, tc.want)
				}
				w.sim.ClearFaults()
				deadline := time.Now().Add(time.Minute) // a call on a busy machine may exceed 5 s
				err := op.do(t.Context(), w, c)
				for w.failed(err) == "DEADLINE_EXCEEDED" && time.Now().Before(deadline) {
					err = op.do(t.Context(), w, c)
				}
				if w.failed(err) != "ok" {
					t.Errorf("%s, %s: call after the fault: %v", tc.fault.Kind, path, err)
				}
			})
		}
	}
}

// Only QR codes and text checks are repeated, and only after -1 and a 5xx.
func TestRetries(t *testing.T) {
	for _, fault := range []simulator.Fault{
		{Kind: simulator.FaultErrcode, Errcode: -1}, {Kind: simulator.FaultServerError},
		{Kind: simulator.FaultErrcode, Errcode: 45009},
		{Kind: simulator.FaultReset}, {Kind: simulator.FaultHTML},
	} {
		for _, op := range operations {
			w := newWorld(t, simulator.Options{})
			c := w.client(nil)
			w.alice(c)
			before, want := w.calls(op.path), 1
			if (op.name == "code" || op.name == "text") &&
				(fault.Errcode == -1 || fault.Kind == simulator.FaultServerError) {
				want = 2
			}
			fault.Times = 1
			w.sim.SetFault(op.path, fault)
			err := op.do(t.Context(), w, c)
			if n := w.calls(op.path) - before; n != want || (w.failed(err) == "ok") != (want == 2) {
				t.Errorf("%s, %s %d: %d calls, %v, want %d", op.name, fault.Kind, fault.Errcode, n, err, want)
			}
		}
	}
}

func TestNoConnection(t *testing.T) {
	dead := httptest.NewServer(nil)
	dead.Close()
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	self := httptest.NewUnstartedServer(http.NotFoundHandler())
	self.Config.ErrorLog = nil
	self.StartTLS()
	t.Cleanup(self.Close)
	for base, reason := range map[string]string{
		dead.URL: "connection refused",
		"https://" + strings.TrimPrefix(plain.URL, "http://"): "no TLS at the other end",
		self.URL: "certificate refused",
	} {
		c := newClient(t, Options{BaseURL: base})
		_, err := c.Code2Session(t.Context(), "code", "")
		if want := "wechat: jscode2session: UNAVAILABLE: " + reason; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

const proxyPassword = "proxy-password"

// proxy refuses tunnels and records the requested one. TestMain sets it in the environment.
var (
	proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusBadGateway)
	}))
	tunnels = make(chan string, 1)
)

func TestProxyFromTheEnvironment(t *testing.T) {
	c := newClient(t, Options{BaseURL: "https://api.weixin.qq.com"})
	err := c.CheckToken(t.Context())
	if want := "wechat: stable_token: UNAVAILABLE: network fault"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got, want := <-tunnels, "CONNECT api.weixin.qq.com:443"; got != want {
		t.Errorf("the proxy got %q, want %q", got, want)
	}
}

func TestBreakerOpensWhileWeChatIsDown(t *testing.T) {
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
				case strings.HasSuffix(r.URL.Path, tokenEndpoint):
					fmt.Fprint(w, `{"access_token":"t","expires_in":7200}`)
				case healthy.Load():
					fmt.Fprint(w, `{"openid":"o1"}`)
				default:
					fail(w, r)
				}
			})
			c := newClient(t, Options{BaseURL: s.URL, Timeout: 50 * time.Millisecond})
			login := func() error { _, err := c.Code2Session(t.Context(), "code", ""); return err }
			eventually(t, "the breaker opens", func() bool {
				return strings.HasSuffix(fmt.Sprint(login()), "breaker open")
			})
			c.Timeout = time.Minute
			if err := c.CheckToken(t.Context()); err != nil {
				t.Errorf("another endpoint fails, too: %v", err)
			}
			healthy.Store(true)
			eventually(t, "the breaker closes", func() bool { return login() == nil })
		})
	}
}

func TestBreakerIgnoresUsersAndCallers(t *testing.T) {
	var body atomic.Pointer[string]
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if body.Load() == nil {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, *body.Load()) // the client reports a failure
	})
	c := newClient(t, Options{BaseURL: s.URL})
	repeat := func(times int, timeout time.Duration, want string) {
		t.Helper()
		for range times {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			_, err := c.Code2Session(ctx, "code", "")
			cancel()
			if got := outcome(err); got != want || strings.HasSuffix(fmt.Sprint(err), "breaker open") {
				t.Fatalf("got %v, want %s", err, want)
			}
		}
	}
	repeat(100, time.Millisecond, "DEADLINE_EXCEEDED")
	for errcode, want := range map[int]string{
		40029: "LOGIN_CODE_REFUSED", 40226: "USER_BLOCKED", 45011: "RATE_LIMITED",
		40013: "UNAVAILABLE", 99999: "INTERNAL", 0: "ok",
	} {
		answer := fmt.Sprintf(`{"errcode":%d,"openid":"o1"}`, errcode)
		body.Store(&answer)
		repeat(50, time.Minute, want)
	}
}
