package admin

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
	for _, tt := range []struct {
		name    string
		ready   error
		healthz int
		readyz  int
		text    string
	}{
		{"ready", nil, 200, 200, "ok"},
		{"a dependency is away", errors.New("mysql: user:password@tcp"), 200, 503, "not ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			h := Handler(func(context.Context) error { return tt.ready }, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
			if code, text := get(h, "/healthz"); code != tt.healthz || text != "ok" {
				t.Errorf("/healthz: %d %s", code, text)
			}
			if code, text := get(h, "/readyz"); code != tt.readyz || text != tt.text {
				t.Errorf("/readyz: %d %s, want %d %s", code, text, tt.readyz, tt.text)
			}
			if logged := strings.Contains(log.String(), "not ready"); logged != (tt.ready != nil) {
				t.Errorf("logged: %s", log.String())
			}
		})
	}
}

// A dependency that hangs makes the probe fail in a second, and not hang too.
func TestReadinessIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		begin := time.Now()
		if code, _ := get(h, "/readyz"); code != 503 {
			t.Errorf("status %d", code)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "shares_test_total", Help: "x"})
	reg.MustRegister(c)
	c.Add(3)
	code, text := get(Handler(func(context.Context) error { return nil }, reg, slog.New(slog.DiscardHandler)), "/metrics")
	if code != 200 || !strings.Contains(text, "shares_test_total 3") {
		t.Errorf("%d %s", code, text)
	}
}

// Nothing else is there: no profiles, no command line.
func TestNothingElse(t *testing.T) {
	h := Handler(func(context.Context) error { return nil }, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	for _, path := range []string{"/", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/vars", "/healthz/x"} {
		if code, _ := get(h, path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
}
