package edge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdmits(t *testing.T) {
	const listed = "https://h5.example.com"
	for _, tt := range []struct {
		origin   string
		pro, dev bool
	}{
		{listed, true, true},
		{"HTTPS://H5.EXAMPLE.COM", true, true},
		{"https://h5.example.com:8443", false, false},
		{"http://h5.example.com", false, false},
		{"https://h5.example.com.evil.org", false, false},
		{"https://evil.org", false, false},
		{"null", false, false},
		{"", false, false},
		{"://", false, false},
		{"file://", false, false},

		{"http://localhost", false, true},
		{"http://localhost:5173", false, true},
		{"http://app.localhost:5173", false, true},
		{"http://127.0.0.1:8080", false, true},
		{"http://[::1]:8080", false, true},
		{"http://192.168.1.20:5173", false, true},
		{"http://10.0.0.8", false, true},
		{"http://172.16.0.1", false, true},
		{"http://169.254.1.1", false, true},
		{"http://[fe80::1]", false, true},
		{"http://172.32.0.1", false, false},
		{"http://8.8.8.8", false, false},
		{"http://localhost.evil.org", false, false},
		{"http://evillocalhost", false, false},
		{"http://127.0.0.1.evil.org", false, false},
		{"http://192.168.1.20.nip.io", false, false},
		{"http://0.0.0.0", false, false},
	} {
		got := []bool{
			Origins{Admitted: []string{listed}}.admits(tt.origin),
			Origins{Admitted: []string{listed}, Local: true}.admits(tt.origin),
		}
		if diff := cmp.Diff([]bool{tt.pro, tt.dev}, got); diff != "" {
			t.Errorf("%q in pro, in dev (-want +got):\n%s", tt.origin, diff)
		}
	}
}

// The header sets that clients send: what is admitted is decided by Origin alone, and only where
// the cookie could be the credential.
func TestRefusesOtherOrigins(t *testing.T) {
	const (
		public   = "https://shares.example.com"
		frame    = "https://servicewechat.com/wx0123456789abcdef/42/page-frame.html"
		devFrame = "https://servicewechat.com/wx0123456789abcdef/devtools/page-frame.html"
	)
	pro := Origins{Admitted: []string{"https://h5.example.org", public}}
	dev := Origins{Own: true, Local: true}
	unset := Origins{Own: true}
	for _, tt := range []struct {
		name    string
		origins Origins
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
		{"other site that says same-origin", pro, "shares.example.com", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, true},
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
		{"a page of Host", unset, "example.com:8443", []string{"Origin", "https://example.com:8443"}, false},
		{"a page of Host, default port", unset, "example.com:443", []string{"Origin", "https://example.com"}, false},
		{"a page of Host, other port", unset, "example.com", []string{"Origin", "https://example.com:8443"}, true},
		{"a page of Host, other scheme", unset, "example.com", []string{"Origin", "file://example.com"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for method, refused := range map[string]bool{
				"POST": tt.refused, "PUT": tt.refused, "PATCH": tt.refused, "DELETE": tt.refused, "GET": false, "HEAD": false,
			} {
				reached := false
				w := newWorld(func(o *Options) { o.Origins = tt.origins }, func(w http.ResponseWriter, r *http.Request) {
					reached = true
					fine(w, r)
				})
				// A path that nothing lists: the rule holds for endpoints to come.
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

// In dev mode a name whose DNS entry leads here by somebody else's doing reaches nothing.
func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		host    string
		hosts   []string
		allowed bool
	}{
		{"localhost:82", []string{"dev.example.com"}, true},
		{"192.168.1.20:82", []string{"dev.example.com"}, true},
		{"dev.example.com", []string{"dev.example.com"}, true},
		{"evil.example", []string{"dev.example.com"}, false},
		{"evil.example:82", []string{}, false},
		{"evil.example", nil, true}, // pro mode: a proxy may send any
	} {
		reached := false
		w := newWorld(func(o *Options) {
			o.Hosts = tt.hosts
			o.Origins = Origins{Own: true, Local: true}
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
				t.Errorf("%s, Host %q of %q: %d %s, reached the route: %v, want allowed %v",
					method, tt.host, tt.hosts, rec.Code, rec.Body, reached, tt.allowed)
			}
		}
	}
}

func TestCORS(t *testing.T) {
	type got struct{ Origin, Methods, Headers, Exposed, Credentials, MaxAge string }
	for _, tt := range []struct {
		name      string
		preflight bool
		listed    []string
		local     bool
		origin    string
		want      got
		reached   bool
	}{
		{"no origin: no browser's matter", false, []string{"https://h5.example.com"}, true, "", got{}, true},
		{"nothing listed", false, nil, false, "https://h5.example.com", got{}, false},
		{"nothing listed, asked first", true, nil, false, "https://h5.example.com", got{}, false},
		{"listed", false, []string{"https://h5.example.com"}, false, "https://h5.example.com",
			got{Origin: "https://h5.example.com", Exposed: "X-Request-Id, Retry-After, Date"}, true},
		{"listed, asked first", true, []string{"https://h5.example.com"}, false, "https://h5.example.com",
			got{Origin: "https://h5.example.com", Methods: "POST", Headers: "authorization,content-type,x-requested-with", MaxAge: "600"}, false},
		{"another", false, []string{"https://h5.example.com"}, false, "https://evil.org", got{}, false},
		{"another, asked first", true, []string{"https://h5.example.com"}, false, "https://evil.org", got{}, false},
		{"localhost in dev, asked first", true, nil, true, "http://localhost:5173",
			got{Origin: "http://localhost:5173", Methods: "POST", Headers: "authorization,content-type,x-requested-with", MaxAge: "600"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reached := false
			w := newWorld(func(o *Options) { o.Origins = Origins{Admitted: tt.listed, Local: tt.local} }, func(w http.ResponseWriter, r *http.Request) {
				reached = true
				fine(w, r)
			})
			r := post(oauth)
			if tt.preflight {
				r.Method = http.MethodOptions
				r.Header.Set("Access-Control-Request-Method", "POST")
				r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-requested-with")
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
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Request-Id") != "abc-1" {
				t.Errorf("headers of every answer: %v", h)
			}
			if tt.origin != "" && h.Get("Vary") == "" {
				t.Error("no Vary: a cache would hand one origin's answer to another")
			}
		})
	}
}
