package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func get(h http.Handler, path string) (int, string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, strings.TrimSpace(rec.Body.String())
}

func TestProbes(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "shares_test_total", Help: "x"}))
	for name, tt := range map[string]struct {
		ready error
		want  map[string]int
	}{
		"ready": {nil, map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200,
			// Nothing else is served: no profiles, no command line.
			"/": 404, "/debug/pprof/": 404, "/debug/pprof/cmdline": 404, "/debug/vars": 404, "/healthz/x": 404}},
		"not ready": {errors.New("mysql: user:password@tcp"), map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			h := (&program{metrics: reg, log: slog.New(slog.NewTextHandler(&log, nil))}).admin(
				t.Context(), func(context.Context) error { return tt.ready })
			for path, want := range tt.want {
				code, text := get(h, path)
				if code != want || strings.Contains(text, "password") {
					t.Errorf("%s: got %d %s, want %d", path, code, text, want)
				}
				if path == "/metrics" && !strings.Contains(text, "shares_test_total 0") {
					t.Errorf("metrics:\n%s", text)
				}
			}
			if logged := strings.Contains(log.String(), "not ready"); logged != (tt.ready != nil) {
				t.Errorf("logged: %s", log.String())
			}
		})
	}
}

// A hung dependency fails the probe after a second.
func TestReadinessIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &program{metrics: prometheus.NewRegistry(), log: slog.New(slog.DiscardHandler)}
		h := p.admin(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		begin := time.Now()
		if code, _ := get(h, "/readyz"); code != 503 {
			t.Errorf("status %d", code)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}
