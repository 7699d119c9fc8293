package simulator_test

import (
	"encoding/base64"
	"regexp"
	"testing"
	"time"

	"shares/simulator"
)

func TestLogin(t *testing.T) {
	w := newWeChat(simulator.Options{})
	first := w.do(t, "GET", loginURL(w.Code("alice")), "")
	if first.contentType != "text/plain" {
		t.Errorf("content type %q, want text/plain", first.contentType)
	}
	m := first.fields(t)
	if len(m) != 2 || m["openid"] != w.OpenID("alice") {
		t.Errorf("answer %v, want only session_key and alice's openid", m)
	}
	key, _ := m["session_key"].(string)
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 || len(key) != 24 {
		t.Errorf("session_key of %d characters, %d bytes, %v", len(key), len(raw), err)
	}
	if again := w.do(t, "GET", loginURL(w.Code("alice")), "").fields(t); again["session_key"] == key {
		t.Error("two logins share a session_key")
	}
}

func TestOpenID(t *testing.T) {
	s := simulator.New(simulator.Options{})
	other := simulator.New(simulator.Options{AppID: "wx1", Secret: "other"})
	id := s.OpenID("alice")
	if !regexp.MustCompile(`^o[0-9A-Za-z_-]{27}$`).MatchString(id) {
		t.Errorf("openid %q does not have WeChat's form", id)
	}
	// This value must not change: after an upgrade, an embedded serve must still find its users.
	if want := "ohKF_KIDXmhxKh4XVjtI5hfZCTYO"; id != want {
		t.Errorf("openid %q, want %q", id, want)
	}
	if id == s.OpenID("Alice") || id == other.OpenID("alice") {
		t.Error("two users, or one user of two apps, share an openid")
	}
}

func TestDevCodes(t *testing.T) {
	w := newWeChat(simulator.Options{DevCodes: true})
	dev := w.OpenID(simulator.DevUser)
	old := w.Code("alice")
	w.do(t, "GET", loginURL(old), "")
	w.advance(time.Hour)
	w.Code("bob") // removes expired codes
	tests := []struct {
		name, code string
		openID     any
		errcode    int
	}{
		{"mock", "the code is a mock one", dev, 0},
		{"mock again", "the code is a mock one", dev, 0},
		{"code of DevTools", "0c3A1zFa1VpCXI0HKOHa1yGmZv4A1zFx", dev, 0},
		{"the same code of DevTools again", "0c3A1zFa1VpCXI0HKOHa1yGmZv4A1zFx", nil, 40163},
		{"another code of DevTools", "0c3A1zFa1VpCXI0HKOHa1yGmZv4A1zFy", dev, 0},
		{"too short", "0c3A1zFa1VpCXI0HKOHa1yGmZv4A1zF", nil, 40029},
		{"too long", "0c3A1zFa1VpCXI0HKOHa1yGmZv4A1zFx0", nil, 40029},
		{"not a code", "0c3A1zFa1VpCXI0HKOHa1yGmZv4A1zF!", nil, 40029},
		{"a user's own code", w.Code("carol"), w.OpenID("carol"), 0},
		{"an old code of the simulator", old, nil, 40029},
		{"a code from before a restart", simulator.New(simulator.Options{}).Code("alice"), nil, 40029},
	}
	for _, tt := range tests {
		got := w.do(t, "GET", loginURL(tt.code), "")
		if openID := got.fields(t)["openid"]; got.errcode != tt.errcode || openID != tt.openID {
			t.Errorf("%s: errcode %d openid %v, want %d %v", tt.name, got.errcode, openID, tt.errcode, tt.openID)
		}
	}
}
