package contract_test

import (
	"testing"
	"time"
)

func testLogin(t *testing.T, s *setting) {
	before := time.Now().Unix()
	u := s.newUser(t)
	after := time.Now().Unix()
	if u.SessionID == "" || u.OpenID == "" {
		t.Errorf("sessionId %q, openId %q", u.SessionID, u.OpenID)
	}
	if u.OverdueTime < before+lifetime || u.OverdueTime > after+lifetime {
		t.Errorf("overdueTime %d, want %d to %d", u.OverdueTime, before+lifetime, after+lifetime)
	}
	u.has(t, fresh())
}
