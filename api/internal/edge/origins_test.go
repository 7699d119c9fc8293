package edge

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/reason"
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
		got := []bool{NewOrigins([]string{listed}, false).Admits(tt.origin), NewOrigins([]string{listed}, true).Admits(tt.origin)}
		if diff := cmp.Diff([]bool{tt.pro, tt.dev}, got); diff != "" {
			t.Errorf("%q in pro, in dev (-want +got):\n%s", tt.origin, diff)
		}
	}
}

func TestCheckCrossSite(t *testing.T) {
	for _, tt := range []struct {
		name         string
		origin, site string
		local        bool
		admitted     bool
	}{
		{"no browser", "", "", false, true},
		{"our own page", "http://example.com", "same-origin", false, true},
		{"our own page, an old browser", "http://example.com", "", false, true},
		{"typed by the user", "", "none", false, true},
		{"another site", "https://evil.org", "cross-site", false, false},
		{"another site, an old browser", "https://evil.org", "", false, false},
		{"another site that sends no origin", "", "cross-site", false, false},
		{"a neighbour's subdomain", "https://other.example.com", "same-site", false, false},
		{"a sandboxed frame", "null", "cross-site", false, false},
		{"a listed site", "https://h5.example.com", "cross-site", false, true},
		{"localhost in pro", "http://localhost:5173", "cross-site", false, false},
		{"localhost in dev", "http://localhost:5173", "cross-site", true, true},
		{"another site in dev", "https://evil.org", "cross-site", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "http://example.com"+oauth, nil)
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			if tt.site != "" {
				r.Header.Set("Sec-Fetch-Site", tt.site)
			}
			err := NewOrigins([]string{"https://h5.example.com"}, tt.local).Check(r)
			if (err == nil) != tt.admitted {
				t.Fatalf("%v, want admitted %v", err, tt.admitted)
			}
			if err != nil {
				if why, _ := reason.Of(err); why != reason.CrossOrigin {
					t.Errorf("reason %s", why)
				}
			}
		})
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
		{"nothing listed", false, nil, false, "https://h5.example.com", got{}, true},
		{"nothing listed, asked first", true, nil, false, "https://h5.example.com", got{}, false},
		{"listed", false, []string{"https://h5.example.com"}, false, "https://h5.example.com",
			got{Origin: "https://h5.example.com", Exposed: "X-Request-Id, Retry-After, Date"}, true},
		{"listed, asked first", true, []string{"https://h5.example.com"}, false, "https://h5.example.com",
			got{Origin: "https://h5.example.com", Methods: "POST", Headers: "authorization,content-type", MaxAge: "600"}, false},
		{"another", false, []string{"https://h5.example.com"}, false, "https://evil.org", got{}, true},
		{"another, asked first", true, []string{"https://h5.example.com"}, false, "https://evil.org", got{}, false},
		{"localhost in dev, asked first", true, nil, true, "http://localhost:5173",
			got{Origin: "http://localhost:5173", Methods: "POST", Headers: "authorization,content-type", MaxAge: "600"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reached := false
			w := newWorld(func(o *Options) { o.Origins = NewOrigins(tt.listed, tt.local) }, func(w http.ResponseWriter, r *http.Request) {
				reached = true
				fine(w, r)
			})
			r := post(oauth)
			if tt.preflight {
				r.Method = http.MethodOptions
				r.Header.Set("Access-Control-Request-Method", "POST")
				r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
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
