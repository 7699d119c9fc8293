// Package examples contains only a test, which starts the examples and calls them.
package examples

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"shares/internal/testenv"
	"shares/simulator"
	"shares/test/testprocess"
)

const token = "orders-token-0123456789abcdef0123456789"

// secrets must not appear in the output of any program.
var secrets testprocess.Secrets

func TestMain(m *testing.M) { os.Exit(secrets.Verify(testenv.Main(m))) }

// world is api and rpc with MariaDB, Redis and a simulated WeChat.
type world struct {
	api, rpc             *testprocess.Process
	wechat, auth, others string // URLs; auth and others are the internal ports of api and rpc
}

func newWorld(t *testing.T) *world {
	t.Helper()
	wechat := testprocess.Run(t, testprocess.Options{Args: []string{"simulator", "--listen", "127.0.0.1:0"}, Secrets: &secrets})
	env := map[string]string{
		"SHARES_MODE": "pro", "SHARES_PUBLIC_URL": "https://shares.example.test",
		"SESSION_SECRET":  "examples-session-secret-0123456789-abcdef",
		"MYSQL_DSN":       testenv.MariaDB(t).Database(t),
		"REDIS_ADDR":      testenv.Redis(t).Addr(),
		"QRCODE_BUCKET":   "file://" + t.TempDir(),
		"WECHAT_BASE_URL": wechat.URL(), "WECHAT_APPID": simulator.DefaultAppID, "WECHAT_SECRET": simulator.DefaultSecret,
		"SHARES_RPC_LISTEN": address(t), "SHARES_INTERNAL_CALLERS": "orders:" + token, "SHARES_WECHAT_PATHS": "/cgi-bin/message/",
	}
	env["WEIXIN_RPC_TARGET"] = "dns:///" + env["SHARES_RPC_LISTEN"]
	secrets.Hide("secret", env["SESSION_SECRET"], env["MYSQL_DSN"], token)
	printed, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"migrate"}, Env: env})
	if err != nil || code != 0 {
		t.Fatalf("shares migrate: code %d, %v\n%s", code, err, printed)
	}
	run := func(command string) (*testprocess.Process, string) {
		all := maps.Clone(env)
		all["SHARES_INTERNAL_LISTEN"] = address(t)
		return testprocess.Run(t, testprocess.Options{Args: []string{command}, Env: all, Secrets: &secrets}), "http://" + all["SHARES_INTERNAL_LISTEN"]
	}
	w := &world{wechat: wechat.URL()}
	w.rpc, w.others = run("rpc")
	w.api, w.auth = run("api")
	return w
}

func address(t *testing.T) string {
	t.Helper()
	a, err := testenv.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// answer is a whole answer.
type answer struct {
	*http.Response
	body string
}

func call(t *testing.T, method, url, body string, header http.Header) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(raw)}
}

// login returns a user's session and openid.
func (w *world) login(t *testing.T, user string) (session, openid string) {
	t.Helper()
	code := call(t, http.MethodPost, w.wechat+"/simulator/code", `{"user":"`+user+`"}`, nil).body
	said := call(t, http.MethodPost, w.api.URL()+"/shares/api/v1/weixin.oauth", strings.Replace(code, "code", "jscode", 1),
		http.Header{"Content-Type": {"application/json"}})
	var login struct{ SessionID, OpenID string }
	if err := json.Unmarshal([]byte(said.body), &login); err != nil || login.SessionID == "" {
		t.Fatalf("login: %v: %s", err, said.body)
	}
	secrets.Hide("session", login.SessionID)
	return login.SessionID, login.OpenID
}

// start runs a program until the test ends, and waits until it accepts connections at address.
func start(t *testing.T, p testenv.Program, address string) *testenv.Process {
	t.Helper()
	process := testenv.NewProcess(p)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get("http://" + address); err == nil {
			resp.Body.Close()
			return process
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen:\n%s", p.Path, process.Output())
		}
	}
}

// nginx starts nginx with the example's file, whose addresses it replaces.
func nginx(t *testing.T, auth, orders string) (url string) {
	t.Helper()
	conf, err := os.ReadFile("nginx/shares.conf")
	if err != nil {
		t.Fatal(err)
	}
	path, err := testenv.LookPath("apt-get install nginx-light, or brew install nginx", "nginx")
	if err != nil {
		t.Fatal(err)
	}
	dir, listen := t.TempDir(), address(t)
	text := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:8084", strings.TrimPrefix(auth, "http://"),
		"127.0.0.1:8888", strings.TrimPrefix(orders, "http://")).Replace(string(conf))
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, dir)
	}
	main := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(main, []byte("daemon off;\nmaster_process off;\nerror_log stderr;\npid "+dir+"/pid;\nevents {}\nhttp {\naccess_log off;\n"+
		temp.String()+text+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, testenv.Program{Path: path, Args: []string{"-e", "stderr", "-p", dir, "-c", main}}, listen)
	return "http://" + listen
}

func TestNginx(t *testing.T) {
	w := newWorld(t)
	var seen *http.Request
	var seenBody string
	orders := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen, seenBody = r, string(body)
		if r.URL.Path == "/orders/broken" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(orders.Close)
	url := nginx(t, w.auth, orders.URL)
	session, openid := w.login(t, "alice")
	bearer, cookie := "Bearer "+session, "session_token="+session
	for _, tt := range []struct {
		name, method, path string
		header             http.Header
		status             int
	}{
		{"header", "POST", "/orders/1", http.Header{"Authorization": {bearer}}, 200},
		{"cookie", "GET", "/orders/1", http.Header{"Cookie": {cookie}}, 200},
		{"headers of the client", "POST", "/orders/1", http.Header{"Authorization": {bearer}, "X-Shares-User-Id": {"999"},
			"x_shares_user_id": {"999"}, "X-Shares-Openid": {"o"}, "X-Shares-Session-Expires": {"9"}}, 200},
		{"own error", "GET", "/orders/broken", http.Header{"Authorization": {bearer}}, 500},
		{"no session", "POST", "/orders/1", http.Header{"X-Shares-User-Id": {"1"}}, 401},
		{"forged", "GET", "/orders/1", http.Header{"Authorization": {"Bearer x"}}, 401},
		{"another site's form", "POST", "/orders/1", http.Header{"Cookie": {cookie}, "Origin": {"https://evil.example"}}, 403},
		{"another site's link", "GET", "/orders/1", http.Header{"Cookie": {cookie}, "Origin": {"https://evil.example"}}, 200},
		{"the internal location", "GET", "/_auth", http.Header{"Authorization": {bearer}}, 404},
	} {
		seen = nil
		body := ""
		if tt.method == "POST" {
			body = "the body"
		}
		if got := call(t, tt.method, url+tt.path, body, tt.header).StatusCode; got != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, got, tt.status)
		}
		if reached := tt.status == 200 || tt.status == 500; reached != (seen != nil) {
			t.Errorf("%s: the service was reached: %t, want %t", tt.name, !reached, reached)
		} else if reached && (seen.Header.Get("X-Shares-User-Id") != "1" || seen.Header.Get("X-Shares-Openid") != openid ||
			len(seen.Header.Get("X-Shares-Session-Expires")) != 10 || len(seen.Header["X_shares_user_id"]) != 0 || seenBody != body) {
			t.Errorf("%s: the service got %v and %q", tt.name, seen.Header, seenBody)
		}
	}
	for _, down := range []*testprocess.Process{w.rpc, w.api} { // shares answers 503, then nothing
		if err := down.Kill(); err != nil {
			t.Fatal(err)
		}
		a := call(t, http.MethodGet, url+"/orders/1", "", http.Header{"Authorization": {bearer}})
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !json.Valid([]byte(a.body)) {
			t.Errorf("status %d, Retry-After %q, %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
		}
	}
}

// TestNginxLines checks that the documentation has the lines of the example.
func TestNginxLines(t *testing.T) {
	conf, err := os.ReadFile("nginx/shares.conf")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/internal-port.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```nginx\n")
	block, _, _ = strings.Cut(block, "```")
	if block == "" {
		t.Fatal("no lines for nginx in the documentation")
	}
	for line := range strings.Lines(strings.ReplaceAll(block, "shares-auth:8084", "shares-auth")) {
		if !strings.Contains(string(conf), strings.TrimSpace(line)) {
			t.Errorf("shares.conf lacks %q", line)
		}
	}
}

func TestOrders(t *testing.T) {
	w := newWorld(t)
	binary := filepath.Join(t.TempDir(), "orders")
	if out, err := exec.Command("go", "build", "-tags", "no_k8s,grpcnotrace", "-o", binary, "./orders").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	asked := 0
	counted := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { // counts the calls
		asked++
		a := call(t, r.Method, w.auth+r.URL.Path, "", r.Header)
		maps.Copy(rw.Header(), a.Header)
		rw.WriteHeader(a.StatusCode)
		_, _ = io.WriteString(rw, a.body)
	}))
	t.Cleanup(counted.Close)
	listen := address(t)
	_, port, _ := strings.Cut(listen, ":")
	orders := start(t, testenv.Program{
		Path: binary, Env: append(os.Environ(), "SHARES_TOKEN="+token), Ready: regexp.MustCompile("Starting server"),
		Args: []string{"-port", port, "-auth", counted.URL, "-wechat", w.others, "-template", strings.Repeat("T", 43)},
	}, listen)
	session, openid := w.login(t, "bob")
	order := func(session string) answer {
		t.Helper()
		return call(t, http.MethodPost, "http://"+listen+"/orders", `{"item":"茶"}`, http.Header{"Authorization": {session}})
	}
	for id := 1; id <= 3; id++ {
		var got struct {
			ID              int
			OpenID, Message string
		}
		a := order("Bearer " + session)
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.ID != id || got.OpenID != openid || got.Message != "sent" {
			t.Errorf("status %d: %s, want id %d, openid %q, message sent", a.StatusCode, a.body, id, openid)
		}
	}
	if asked != 1 {
		t.Errorf("got %d calls of /auth, want 1", asked)
	}
	for _, session := range []string{"", "Bearer x"} {
		if got := order(session).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%q: status %d, want 401", session, got)
		}
	}
	other, _ := w.login(t, "carol")
	if err := w.rpc.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := order("Bearer " + other).StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("without rpc: status %d, want 503", got)
	}
	if out := orders.Output(); strings.Contains(out, session) || strings.Contains(out, other) || strings.Contains(out, token) {
		t.Errorf("orders printed a secret:\n%s", out)
	}
}
