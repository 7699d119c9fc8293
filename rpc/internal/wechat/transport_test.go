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
	"path"
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
	arrived, gone := make(chan struct{}, 2), make(chan struct{}, 2)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	c := newClient(t, Options{BaseURL: s.URL})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if _, _, err := c.Code2Session(ctx, "code", ""); outcome(err) != "CANCELED" {
		t.Errorf("got %v, want CANCELED", err)
	}
	<-gone
	if _, _, err := c.Code2Session(ctx, "code", ""); outcome(err) != "CANCELED" {
		t.Errorf("a call after the end got %v, want CANCELED", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Code2Session(ctx, "code", ""); outcome(err) != "DEADLINE_EXCEEDED" {
		t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
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
	if _, _, err := c.Code2Session(t.Context(), "first", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Code2Session(t.Context(), "second", ""); outcome(err) != "UNAVAILABLE" {
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

// answered returns the error of an operation whose endpoint gives this answer.
func answered(t *testing.T, operation string, status int, contentType, body string) error {
	t.Helper()
	for _, op := range operations {
		if op.name == operation {
			c := newClient(t, Options{Transport: answerWith{path.Base(op.path), status, contentType, body}})
			w := &world{t: t, sim: simulator.New(simulator.Options{}), secrets: map[string]bool{}}
			return op.do(t.Context(), w, c)
		}
	}
	return nil
}

func TestAnswers(t *testing.T) {
	const ok, bad = "ok", "WECHAT_BAD_ANSWER"
	for _, tc := range []struct{ operation, body, want string }{
		{"login", `{"openid":"o1","session_key":"k"}`, ok},
		{"login", `{"errcode":0,"openid":"o1"}`, ok},
		{"login", `{"session_key":"k"}`, bad},
		{"login", ``, bad},
		{"login", `null`, bad},
		{"login", `[]`, bad},
		{"login", `{"errcode":"40029"}`, bad},
		{"login", `{"openid":1}`, bad},
		{"login", `{"openid":"o1\n<script>"}`, bad},
		{"login", `{"openid":"` + strings.Repeat("o", 65) + `"}`, bad},
		{"login", `{"openid":"o1","unionid":"' or 1"}`, bad},
		{"login", `{"openid":"o1"}<html>`, bad},
		{"login", `{"openid":"o1","x":"` + strings.Repeat("x", maxJSONBytes) + `"}`, bad},

		{"phone", `{"errcode":0,"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000"}}`, ok},
		{"phone", `{"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000",` +
			`"watermark":{"appid":"wx1"}}}`, bad},
		{"phone", `{"errcode":0}`, bad},
		{"phone", `{"phone_info":{"countryCode":"86","purePhoneNumber":"1380013800O"}}`, bad},
		{"phone", `{"phone_info":{"purePhoneNumber":"13800138000"}}`, bad},
		{"phone", `{"phone_info":{"countryCode":"852","purePhoneNumber":"1380013800012"}}`, bad},

		{"text", `{"errcode":0,"result":{"suggest":"risky","label":20006}}`, ok},
		{"text", `{"errcode":0,"errmsg":"ok"}`, bad},
		{"text", `{"errcode":0,"result":{"suggest":"maybe"}}`, bad},

		{"token", `{"access_token":"75_Ab-c","expires_in":300}`, ok},
		{"token", `{"expires_in":7200}`, bad},
		{"token", `{"access_token":"75_Ab-c"}`, bad},
		{"token", `{"access_token":"75_Ab-c\n","expires_in":7200}`, bad},
		{"token", `{"access_token":"` + strings.Repeat("a", 513) + `","expires_in":7200}`, bad},
	} {
		if err := answered(t, tc.operation, 200, "text/plain", tc.body); outcome(err) != tc.want {
			t.Errorf("%s, %.100s: got %v, want %s", tc.operation, tc.body, err, tc.want)
		}
	}
	for status, want := range map[int]string{201: ok, 302: bad, 403: bad, 500: "UNAVAILABLE"} {
		err := answered(t, "login", status, "application/json", `{"openid":"o1"}`)
		if outcome(err) != want {
			t.Errorf("status %d: got %v, want %s", status, err, want)
		}
	}
}

func TestPictures(t *testing.T) {
	picture := image.NewGray(image.Rect(0, 0, 300, 300))
	var asJPEG, asPNG bytes.Buffer
	if err := errors.Join(jpeg.Encode(&asJPEG, picture, nil), png.Encode(&asPNG, picture)); err != nil {
		t.Fatal(err)
	}
	j, p := asJPEG.String(), asPNG.String()
	const ok, bad = "ok", "WECHAT_BAD_ANSWER"
	for name, tc := range map[string]struct{ contentType, body, want string }{
		"JPEG":               {"image/jpeg", j, ok},
		"of a wrong type":    {"text/plain", p, ok},
		"error as image":     {"image/jpeg", `{"errcode":45009,"errmsg":"quota"}`, "RATE_LIMITED"},
		"HTML":               {"image/jpeg", `<html>`, bad},
		"JSON":               {"application/json", `{"errcode":0,"errmsg":"ok"}`, bad},
		"GIF":                {"image/gif", "GIF89a", bad},
		"empty":              {"image/jpeg", "", bad},
		"without last byte":  {"image/jpeg", j[:len(j)-1], bad},
		"without last chunk": {"image/png", p[:len(p)-12], bad},
		// Width and height are 65,535; the checksum is wrong.
		"impossible size": {"image/png", p[:16] + "\x00\x00\xff\xff\x00\x00\xff\xff" + p[24:], bad},
		"too large":       {"image/png", p + strings.Repeat("x", maxImageBytes), bad},
	} {
		if err := answered(t, "code", 200, tc.contentType, tc.body); outcome(err) != tc.want {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
	if err := answered(t, "login", 200, "image/jpeg", j); outcome(err) != bad {
		t.Errorf("a picture for a login: got %v, want %s", err, bad)
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
				c := w.client(func(o *Options) {
					if tc.want == "DEADLINE_EXCEEDED" {
						o.Timeout = 5 * time.Second
					}
				})
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
		dead.URL: "connect: connection refused",
		"https://" + strings.TrimPrefix(plain.URL, "http://"): "no TLS at the other end",
		self.URL: "certificate refused",
	} {
		c := newClient(t, Options{BaseURL: base})
		_, _, err := c.Code2Session(t.Context(), "code", "")
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
			login := func() error { _, _, err := c.Code2Session(t.Context(), "code", ""); return err }
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
			_, _, err := c.Code2Session(ctx, "code", "")
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
