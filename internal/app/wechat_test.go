package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

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
