package app

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"shares/api"
	"shares/internal/process"
)

// A request does not come to need more heap objects unnoticed. The bounds are a tenth above the
// numbers of this version.
func TestAllocationsPerRequest(t *testing.T) {
	_, h := edge(t, "")
	var login struct{ SessionID string }
	answer := request(t, h, "oauth", "", `{"jscode":"`+strings.Repeat("x", 32)+`"}`)()
	open(t, json.Unmarshal(answer.Body.Bytes(), &login))
	for _, tt := range []struct {
		endpoint, body string
		most           float64
	}{
		{"get_user_info", "{}", 38},
		{"re_login", "{}", 45},
		{"get_qrcode", `{"page":"pages/index/index","scene":"bench"}`, 66},
	} {
		ask := request(t, h, tt.endpoint, login.SessionID, tt.body)
		// Goroutines in the background allocate, too, but not during each single request.
		least := testing.AllocsPerRun(1, func() { ask() })
		for range 500 {
			least = min(least, testing.AllocsPerRun(1, func() { ask() }))
		}
		if least > tt.most {
			t.Errorf("%s: %.0f heap objects, want at most %.0f", tt.endpoint, least, tt.most)
		}
		t.Logf("%s: %.0f", tt.endpoint, least)
	}
}

// edge returns the edge of serve in pro mode, with embedded parts.
func edge(t testing.TB, changes string) (*program, http.Handler) {
	p := start(t, changes)
	p.config.Mode, p.config.PublicURL, p.config.RateLimit = "pro", "https://shares.example.com", "off"
	var stop func() error
	p.log, stop = process.Logger(io.Discard, true, "info")
	p.onClose(stop)
	open(t, p.openUsers(t.Context()), p.openPictures(), p.openSecrets(), p.openWechat(), p.openService())
	h, _, err := api.Handlers(p.config, api.Deps{
		Users: p.service.Client(), Pictures: p.pictures, Redis: p.redis, Secrets: p.secrets,
		Memory: p.memory, Log: p.log, Metrics: p.metrics, Now: time.Now,
	})
	open(t, err)
	return p, h
}

// request returns a function that sends one request to h, again and again, and returns its answer.
func request(t testing.TB, h http.Handler, endpoint, session, body string) func() *httptest.ResponseRecorder {
	text := strings.NewReader(body)
	r := httptest.NewRequest(http.MethodPost, "/shares/api/v1/weixin."+endpoint, text)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+session)
	w, sent := httptest.NewRecorder(), r.Body
	return func() *httptest.ResponseRecorder {
		text.Reset(body)
		r.Body = sent
		w.Body.Reset()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", endpoint, w.Code, w.Body)
		}
		return w
	}
}
