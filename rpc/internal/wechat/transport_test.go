package wechat

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shares/simulator"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestCallerWhoLeavesEndsTheRequest(t *testing.T) {
	arrived, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL, Timeout: time.Minute})
	for name, tc := range map[string]struct {
		leave func(context.Context) (context.Context, context.CancelFunc)
		want  Kind
	}{
		"hangs up": {context.WithCancel, Canceled},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second) // it arrives before
		}, Deadline},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := tc.leave(t.Context())
			defer cancel()
			result := make(chan error)
			go func() {
				_, err := c.Code2Session(ctx, "code", "")
				result <- err
			}()
			<-arrived
			if tc.want == Canceled {
				cancel()
			}
			if err := <-result; KindOf(err) != tc.want {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			<-gone
			if _, err := c.Code2Session(ctx, "code", ""); KindOf(err) != tc.want {
				t.Errorf("a call after the end got %v, want %v", err, tc.want)
			}
		})
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
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL})
	if _, err := c.Code2Session(t.Context(), "first", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Code2Session(t.Context(), "second", ""); KindOf(err) != Unavailable {
		t.Errorf("got %v, want %v", err, Unavailable)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestRequestsHaveALengthAndTheRightAddress(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	var s *httptest.Server
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 || r.Method == http.MethodPost && r.ContentLength <= 0 || r.Method == http.MethodGet && r.ContentLength != 0 {
			t.Errorf("%s %s: length %d, transfer encoding %v", r.Method, r.URL.Path, r.ContentLength, r.TransferEncoding)
		}
		if want := strings.TrimPrefix(s.URL, "http://"); r.Host != want {
			t.Errorf("host is %q, want %q", r.Host, want)
		}
		http.StripPrefix("/weixin/api", sim).ServeHTTP(w, r)
	})
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL + "/weixin/api/"})
	w := &world{t: t, sim: sim, secrets: map[string]bool{}}
	for _, op := range operations() {
		if err := op.do(t.Context(), w, c); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(simulator.New(simulator.Options{}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL})
	for range 10 {
		if _, err := c.UnlimitedCode(t.Context(), CodeParams{Scene: "a", Width: 280}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Code2Session(t.Context(), "unknown", ""); KindOf(err) != CodeRefused {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for calls one after the other, want 1", n)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: s.URL})
	if _, err := c.Code2Session(t.Context(), "code", ""); KindOf(err) != BadAnswer {
		t.Errorf("got %v, want %v", err, BadAnswer)
	}
	if elsewhere.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestAnswers(t *testing.T) {
	picture := image.NewGray(image.Rect(0, 0, 300, 300))
	var j, p bytes.Buffer
	if err := jpeg.Encode(&j, picture, nil); err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(&p, picture); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Clone(p.Bytes())
	copy(bomb[16:], "\x00\x00\xff\xff\x00\x00\xff\xff") // width and height; the checksum is wrong, too

	login := func(c *Client) error { _, err := c.Code2Session(t.Context(), "code", ""); return err }
	code := func(c *Client) error { _, err := c.UnlimitedCode(t.Context(), CodeParams{Scene: "a"}); return err }
	phone := func(c *Client) error { _, err := c.PhoneNumber(t.Context(), "code"); return err }
	text := func(c *Client) error { _, err := c.CheckText(t.Context(), "o1", "text"); return err }
	for name, tc := range map[string]struct {
		call        func(*Client) error
		status      int
		contentType string
		body        string
		want        string // a kind, or "ok"
	}{
		"login":                        {login, 200, "text/plain", `{"openid":"o1","session_key":"k"}`, "ok"},
		"login with status 201":        {login, 201, "text/plain", `{"openid":"o1"}`, "ok"},
		"login of the form of a 500":   {login, 500, "application/json", `{}`, "unavailable"},
		"login good but 500":           {login, 500, "application/json", `{"openid":"o1"}`, "unavailable"},
		"login 403":                    {login, 403, "application/json", `{"openid":"o1"}`, "bad answer"},
		"login 304":                    {login, 304, "", ``, "bad answer"},
		"login without openid":         {login, 200, "text/plain", `{"session_key":"k"}`, "bad answer"},
		"login with null":              {login, 200, "text/plain", `null`, "bad answer"},
		"login with a list":            {login, 200, "text/plain", `[]`, "bad answer"},
		"login with errcode as text":   {login, 200, "text/plain", `{"errcode":"40029"}`, "bad answer"},
		"login with errcode 0":         {login, 200, "text/plain", `{"errcode":0,"openid":"o1"}`, "ok"},
		"login with hostile openid":    {login, 200, "text/plain", `{"openid":"o1\n<script>"}`, "bad answer"},
		"login with long openid":       {login, 200, "text/plain", `{"openid":"` + strings.Repeat("o", 65) + `"}`, "bad answer"},
		"login with hostile unionid":   {login, 200, "text/plain", `{"openid":"o1","unionid":"' or 1"}`, "bad answer"},
		"login and garbage":            {login, 200, "text/plain", `{"openid":"o1"}<html>`, "bad answer"},
		"login too large":              {login, 200, "text/plain", `{"openid":"o1","x":"` + strings.Repeat("x", maxJSONBytes) + `"}`, "bad answer"},
		"login as an image":            {login, 200, "image/jpeg", j.String(), "bad answer"},
		"code as JPEG":                 {code, 200, "image/jpeg", j.String(), "ok"},
		"code as PNG":                  {code, 200, "image/png", p.String(), "ok"},
		"code of a wrong type":         {code, 200, "text/plain", p.String(), "ok"},
		"code of no type":              {code, 200, "", p.String(), "ok"},
		"code error as text":           {code, 200, "text/plain; charset=utf-8", `{"errcode":41030,"errmsg":"invalid page rid: 1"}`, "invalid argument"},
		"code error as image":          {code, 200, "image/jpeg", `{"errcode":45009,"errmsg":"quota"}`, "busy"},
		"code is HTML":                 {code, 200, "image/jpeg", `<html>`, "bad answer"},
		"code is JSON":                 {code, 200, "application/json", `{"errcode":0,"errmsg":"ok"}`, "bad answer"},
		"code is GIF":                  {code, 200, "image/gif", "GIF89a", "bad answer"},
		"code is empty":                {code, 200, "image/jpeg", "", "bad answer"},
		"code is all magic":            {code, 200, "image/jpeg", "\xff\xd8\xff", "bad answer"},
		"code without its last byte":   {code, 200, "image/jpeg", j.String()[:j.Len()-1], "bad answer"},
		"code without its last chunk":  {code, 200, "image/png", p.String()[:p.Len()-12], "bad answer"},
		"code with impossible size":    {code, 200, "image/png", string(bomb), "bad answer"},
		"code too large":               {code, 200, "image/png", p.String() + strings.Repeat("x", maxImageBytes), "bad answer"},
		"phone":                        {phone, 200, "", `{"errcode":0,"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000"}}`, "ok"},
		"phone of another app":         {phone, 200, "", `{"phone_info":{"countryCode":"86","purePhoneNumber":"13800138000","watermark":{"appid":"wx1"}}}`, "bad answer"},
		"phone missing":                {phone, 200, "", `{"errcode":0}`, "bad answer"},
		"phone with letters":           {phone, 200, "", `{"phone_info":{"countryCode":"86","purePhoneNumber":"1380013800O"}}`, "bad answer"},
		"phone without country":        {phone, 200, "", `{"phone_info":{"purePhoneNumber":"13800138000"}}`, "bad answer"},
		"phone too long":               {phone, 200, "", `{"phone_info":{"countryCode":"852","purePhoneNumber":"1380013800012"}}`, "bad answer"},
		"text":                         {text, 200, "", `{"errcode":0,"result":{"suggest":"risky","label":20006}}`, "ok"},
		"text without verdict":         {text, 200, "", `{"errcode":0,"errmsg":"ok"}`, "bad answer"},
		"text with an unknown verdict": {text, 200, "", `{"errcode":0,"result":{"suggest":"maybe"}}`, "bad answer"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, Options{AppID: testAppID, Secret: testSecret, Transport: answerWith(tc.status, tc.contentType, []byte(tc.body))})
			got := "ok"
			if err := tc.call(c); err != nil {
				got = KindOf(err).String()
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	self := httptest.NewUnstartedServer(http.NotFoundHandler())
	self.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	self.StartTLS()
	t.Cleanup(self.Close)
	for base, reason := range map[string]string{
		"http://" + nobody: "connection refused",
		"https://" + strings.TrimPrefix(plain.URL, "http://"): "no TLS at the other end",
		self.URL: "certificate refused",
	} {
		c := newClient(t, Options{AppID: testAppID, Secret: testSecret, BaseURL: base})
		_, err := c.Code2Session(t.Context(), "code", "")
		if want := "wechat: jscode2session: unavailable (" + reason + ")"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

const (
	proxyChildEnv = "SHARES_WECHAT_PROXY_CHILD"
	proxyPassword = "proxy-password"
)

// proxyChild is what TestProxyFromTheEnvironment runs in a process of its own: net/http reads the environment once.
func proxyChild() {
	c, err := New(Options{
		AppID: testAppID, Secret: testSecret, BaseURL: "https://api.weixin.qq.com",
		Timeout: time.Minute, Logger: discard(), Now: time.Now,
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.CheckToken(context.Background()))
}

func TestProxyFromTheEnvironment(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	request := make(chan string, 1)
	go func() {
		defer close(request)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		request <- line
		fmt.Fprint(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
	}()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), proxyChildEnv+"=1", "NO_PROXY=", "no_proxy=",
		"HTTPS_PROXY=http://user:"+proxyPassword+"@"+l.Addr().String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "wechat: stable_token: unavailable (network fault)\n"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if got, want := <-request, "CONNECT api.weixin.qq.com:443 HTTP/1.1\r\n"; got != want {
		t.Errorf("the proxy was asked %q, want %q", got, want)
	}
}
