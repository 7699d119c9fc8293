package edge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/config"
)

func newTestOrigins(t *testing.T, c config.Config) origins {
	t.Helper()
	o, err := newOrigins(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAdmits(t *testing.T) {
	const listed = "https://h5.example.com"
	pro := newTestOrigins(t, config.Config{Mode: "pro", CORSOrigins: listed, PublicURL: "https://shares.example.com/path"})
	dev := newTestOrigins(t, config.Config{Mode: "dev", CORSOrigins: listed, Host: "MyMac.local"})
	for _, tt := range []struct {
		origin     string
		pro, inDev bool
	}{
		{listed, true, true},
		{"HTTPS://H5.EXAMPLE.COM", true, true},
		{"https://shares.example.com", true, false},
		{"https://h5.example.com.evil.org", false, false},
		{"https://evil.org", false, false},
		{"null", false, false},
		{"", false, false},
		{"://", false, false},
		{"file://", false, false},
		{"http://h5.example.com", false, true}, // dev mode checks the host only
		{"http://mymac.local:82", false, true},
		{"http://localhost:5173", false, true},
		{"http://[::1]:8080", false, true},
		{"http://192.168.1.20:5173", false, true},
		{"http://8.8.8.8", false, false},
		{"http://localhost.evil.org", false, false},
	} {
		if diff := cmp.Diff([]bool{tt.pro, tt.inDev}, []bool{pro.admits(tt.origin), dev.admits(tt.origin)}); diff != "" {
			t.Errorf("%q in pro, in dev (-want +got):\n%s", tt.origin, diff)
		}
	}
}

// Whether a request is refused depends on Origin alone, and only if the cookie is the credential.
// The cases are the headers that real clients send.
func TestRefusesOtherOrigins(t *testing.T) {
	const (
		public   = "https://shares.example.com"
		frame    = "https://servicewechat.com/wx0123456789abcdef/42/page-frame.html"
		devFrame = "https://servicewechat.com/wx0123456789abcdef/devtools/page-frame.html"
	)
	pro := config.Config{Mode: "pro", CORSOrigins: "https://h5.example.org", PublicURL: public}
	dev := config.Config{Mode: "dev", Host: "mymac.local"}
	for _, tt := range []struct {
		name    string
		config  config.Config
		host    string
		headers []string // name, value, …
		refused bool
	}{
		{"phone, iOS", pro, "shares.example.com", []string{
			"Referer", frame, "User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) MicroMessenger/8.0.49 NetType/WIFI"}, false},
		{"phone, Android", pro, "shares.example.com", []string{
			"Referer", frame, "charset", "utf-8", "User-Agent", "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50 MiniProgramEnv/android"}, false},
		{"Windows", pro, "shares.example.com", []string{
			"Referer", frame, "xweb_xhr", "1", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		{"Mac", pro, "shares.example.com", []string{
			"Referer", frame, "xweb_xhr", "1", "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		{"DevTools, localhost", dev, "localhost:82", []string{
			"Referer", devFrame, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, false},
		{"DevTools, 127.0.0.1", dev, "127.0.0.1:82", []string{
			"Referer", devFrame, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, false},
		{"DevTools, pro", pro, "shares.example.com", []string{
			"Referer", devFrame, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, false},
		{"curl", pro, "shares.example.com", nil, false},

		{"own page", pro, "shares.example.com", []string{"Origin", public, "Sec-Fetch-Site", "same-origin"}, false},
		{"own page, in capitals", pro, "shares.example.com", []string{"Origin", "HTTPS://Shares.example.com"}, false},
		{"own page, another Host from the proxy", pro, "10.0.0.7:8080", []string{"Origin", public}, false},
		{"a page of Host, with a public URL", pro, "internal:8080", []string{"Origin", "http://internal:8080"}, true},
		{"listed page", pro, "shares.example.com", []string{"Origin", "https://h5.example.org", "Sec-Fetch-Site", "cross-site"}, false},
		{"same site", pro, "shares.example.com", []string{"Origin", "https://www.example.com", "Sec-Fetch-Site", "same-site"}, true},
		{"own name over http", pro, "shares.example.com", []string{"Origin", "http://shares.example.com"}, true},
		{"other site", pro, "shares.example.com", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, true},
		{"other site that claims same-origin", pro, "shares.example.com", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, true},
		{"form post of another site", pro, "shares.example.com", []string{"Origin", "https://evil.example",
			"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, true},
		{"null", pro, "shares.example.com", []string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}, true},
		{"file", pro, "shares.example.com", []string{"Origin", "file://"}, true},
		{"localhost in pro", pro, "shares.example.com", []string{"Origin", "http://localhost:5173"}, true},
		{"other site with a Bearer header", pro, "shares.example.com", []string{"Origin", "https://evil.example", "Authorization", "Bearer abc"}, false},
		{"other site with another scheme", pro, "shares.example.com", []string{"Origin", "https://evil.example", "Authorization", "Basic abc"}, true},

		{"own page in dev", dev, "mymac.local:82", []string{"Origin", "http://mymac.local:82"}, false},
		{"localhost in dev", dev, "localhost:82", []string{"Origin", "http://localhost:5173", "Sec-Fetch-Site", "same-site"}, false},
		{"private network in dev", dev, "localhost:82", []string{"Origin", "http://192.168.1.20:5173"}, false},
		{"other site in dev", dev, "localhost:82", []string{"Origin", "https://evil.example"}, true},
		{"null in dev", dev, "localhost:82", []string{"Origin", "null"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for method, refused := range map[string]bool{
				"POST": tt.refused, "PUT": tt.refused, "PATCH": tt.refused, "DELETE": tt.refused, "GET": false, "HEAD": false,
			} {
				reached := false
				w := newWorld(t, func(o *Options) {
					o.Mode, o.CORSOrigins, o.PublicURL, o.Host = tt.config.Mode, tt.config.CORSOrigins, tt.config.PublicURL, tt.config.Host
				}, func(w http.ResponseWriter, r *http.Request) {
					reached = true
					fine(w, r)
				})
				r := httptest.NewRequest(method, "/shares/api/v1/weixin.to_come", nil)
				r.Host = tt.host
				r.Header.Set("Cookie", "session_token=abc")
				for i := 0; i < len(tt.headers); i += 2 {
					r.Header.Set(tt.headers[i], tt.headers[i+1])
				}
				rec := w.do(r)
				if reached == refused || refused && (rec.Code != 403 || rec.Body.String() != `{"code":1080,"msg":"不允许的跨站请求"}`) {
					t.Errorf("%s: %d %s, reached the route: %v, want refused %v", method, rec.Code, rec.Body, reached, refused)
				}
			}
		})
	}
}

// Dev mode refuses unknown host names, as a protection against DNS rebinding.
func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		host, mode string
		allowed    bool
	}{
		{"localhost:82", "dev", true},
		{"192.168.1.20:82", "dev", true},
		{"dev.example.com", "dev", true},
		{"evil.example", "dev", false},
		{"evil.example:82", "dev", false},
		{"shares.example.com", "pro", true},
	} {
		reached := false
		w := newWorld(t, func(o *Options) {
			o.Mode, o.CORSOrigins = tt.mode, "https://dev.example.com"
		}, func(w http.ResponseWriter, r *http.Request) {
			reached = true
			fine(w, r)
		})
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			reached = false
			r := httptest.NewRequest(method, "/simulator/code", nil)
			r.Host = tt.host
			r.Header.Set("Origin", "http://"+tt.host) // same-origin for the browser
			rec := w.do(r)
			refused := rec.Code == 403 && strings.Contains(rec.Body.String(), "SHARES_PUBLIC_URL")
			if reached != tt.allowed || refused == tt.allowed {
				t.Errorf("%s, Host %q in %s: %d %s, reached the route: %v, want allowed %v",
					method, tt.host, tt.mode, rec.Code, rec.Body, reached, tt.allowed)
			}
		}
	}
}

func TestCORS(t *testing.T) {
	const listed, exposed = "https://h5.example.com", "X-Request-Id, Retry-After, Date"
	type got struct{ Origin, Methods, Headers, Exposed, Credentials, MaxAge string }
	asked := got{Methods: "GET, POST, PUT, PATCH, DELETE", MaxAge: "600", Exposed: exposed,
		Headers: "authorization,x-any"}
	ofListed, ofLocal := asked, asked
	ofListed.Origin, ofLocal.Origin = listed, "http://localhost:5173"
	for _, tt := range []struct {
		name, mode, method, origin string
		want                       got
		reached                    bool
	}{
		{"no origin", "dev", "POST", "", got{}, true},
		{"listed", "pro", "POST", listed, got{Origin: listed, Exposed: exposed}, true},
		{"listed, preflight", "pro", "OPTIONS", listed, ofListed, false},
		{"another", "pro", "POST", "https://evil.org", got{}, false},
		{"another, preflight", "pro", "OPTIONS", "https://evil.org", got{}, false},
		{"localhost in dev, preflight", "dev", "OPTIONS", ofLocal.Origin, ofLocal, false},
		{"localhost in pro, preflight", "pro", "OPTIONS", ofLocal.Origin, got{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reached := false
			w := newWorld(t, func(o *Options) { o.Mode, o.CORSOrigins = tt.mode, listed }, func(w http.ResponseWriter, r *http.Request) {
				reached = true
				fine(w, r)
			})
			r := post(endpoint)
			r.Host = "localhost"
			if r.Method = tt.method; tt.method == http.MethodOptions {
				r.Header.Set("Access-Control-Request-Method", "POST")
				r.Header.Set("Access-Control-Request-Headers", asked.Headers)
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			h := w.do(r).Header()
			headers := got{h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Allow-Methods"), h.Get("Access-Control-Allow-Headers"),
				h.Get("Access-Control-Expose-Headers"), h.Get("Access-Control-Allow-Credentials"), h.Get("Access-Control-Max-Age")}
			if diff := cmp.Diff(tt.want, headers); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if reached != tt.reached {
				t.Errorf("reached the route: %v", reached)
			}
			if tt.origin != "" && h.Get("Vary") != "Origin" {
				t.Error("no Vary: a cache would serve one origin's answer to another")
			}
		})
	}
}
