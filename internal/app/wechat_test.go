package app

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"shares/api"
	"shares/internal/config"
	"shares/simulator"
)

// A web page cannot reach the simulator's control paths, nor read answers by DNS rebinding.
func TestGuardControl(t *testing.T) {
	for _, tt := range []struct {
		name, host, origin string
		loopback           bool
		status             int
	}{
		{"local", "127.0.0.1:8090", "", true, http.StatusOK},
		{"web page", "127.0.0.1:8090", "https://evil.example", true, http.StatusForbidden},
		{"web page by its own name", "evil.example:8090", "http://evil.example:8090", true, http.StatusForbidden},
		{"GET of that page", "evil.example:8090", "", true, http.StatusForbidden},
		{"another machine, not on loopback", "simulator:8090", "", false, http.StatusOK},
		{"web page, not on loopback", "simulator:8090", "https://evil.example", false, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/simulator/stats", nil)
			r.Host = tt.host
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			rec := httptest.NewRecorder()
			guardControl(simulator.New(simulator.Options{}), tt.loopback).ServeHTTP(rec, r)
			if rec.Code != tt.status {
				t.Errorf("%d %s, want %d", rec.Code, rec.Body, tt.status)
			}
		})
	}
}

// The simulator's pushes reach the service that embeds it, and check proves the address as WeChat
// does.
func TestPushes(t *testing.T) {
	const key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	receiver := http.NewServeMux()
	server := httptest.NewServer(receiver)
	defer server.Close()
	public, _, err := api.Handlers(config.Config{
		Mode: "dev", MaxInFlight: 8, Timeout: time.Minute, UserPerSecond: 1, UserBurst: 1, WechatAppID: simulator.DefaultAppID,
		PushToken: "token", PushAESKey: key, PublicURL: server.URL, SessionLifetime: time.Hour, SessionMaxAge: time.Hour,
	}, api.Deps{
		Secrets: []string{strings.Repeat("s", config.MinSecret)}, Log: slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(), Now: time.Now, Memory: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	receiver.Handle("/", public)
	settings := "PublicURL: " + server.URL + "\nPushToken: token\nPushAESKey: "
	wantFailures(t, findings(t, settings+key), "Push")
	wantFailures(t, findings(t, settings+strings.Repeat("a", 43)), "Push",
		[2]string{"send a message: answered 403", "WECHAT_PUSH_AES_KEY"})
	wantFailures(t, findings(t, strings.Replace(settings, "token", "other", 1)+key), "Push",
		[2]string{"prove the address: answered 403", "WECHAT_PUSH_TOKEN"})

	wechat := simulator.New(simulator.Options{Push: simulator.Push{URL: server.URL + api.PushPath, Token: "token", AESKey: key}})
	for body, want := range map[string]string{
		`{"user":"alice","event":"user_info_modified","fields":{"OpenID":""},"mode":"compatible","xml":true}`: `{"answers":[{"status":200,"body":"success"}]}`,
		`{"user":"alice","event":"user_info_modified","fields":{"OpenID":""},"mode":"plain"}`:                 `{"answers":[{"status":200,"body":"success"}]}`,
		`{"user":"alice","event":"e","mode":"other"}`:                                                         `{"error":"mode: plain, compatible or safe"}`,
	} {
		rec := httptest.NewRecorder()
		wechat.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/simulator/push", strings.NewReader(body)))
		if got := strings.TrimSpace(rec.Body.String()); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}
