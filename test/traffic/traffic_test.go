package traffic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// service fakes the endpoints that the load needs, with faults.
type service struct {
	mu      sync.Mutex
	stored  map[string]Profile // by session, which is the user's name
	status  int                // of every answer, if not 0
	forget  bool               // writes are acknowledged and dropped
	relogin bool               // sessions are lost
	hangUp  bool               // connections are closed without an answer
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in map[string]string
	_ = json.NewDecoder(r.Body).Decode(&in)
	session := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	endpoint := strings.TrimPrefix(r.URL.Path, prefix)
	switch {
	case r.URL.Path == "/simulator/code":
		fmt.Fprintf(w, `{"code":%q}`, in["user"])
	case s.hangUp:
		panic(http.ErrAbortHandler)
	case s.status != 0:
		w.WriteHeader(s.status)
	case endpoint == "oauth":
		if s.stored[in["jscode"]] == nil {
			s.stored[in["jscode"]] = Profile{}
		}
		fmt.Fprintf(w, `{"sessionId":%q,"openId":%[1]q}`, in["jscode"])
	case endpoint == "re_login":
		fmt.Fprintf(w, `{"relogin":%v,"sessionId":%q}`, s.relogin, session)
	case endpoint == "get_user_info":
		_ = json.NewEncoder(w).Encode(s.stored[session])
	default:
		if key, ok := in["key"]; ok {
			in = map[string]string{key: in["value"]}
		}
		for key, value := range in {
			if !s.forget {
				s.stored[session][key] = value
			}
		}
	}
}

func TestLoad(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   func(*service)
		failure string
		lost    bool
	}{
		"all well":      {fault: func(*service) {}},
		"unavailable":   {fault: func(s *service) { s.status = http.StatusServiceUnavailable }, failure: "status 503"},
		"hung up":       {fault: func(s *service) { s.hangUp = true }, failure: "EOF"},
		"sessions lost": {fault: func(s *service) { s.relogin = true }, failure: "session lost"},
		"writes lost":   {fault: func(s *service) { s.forget = true }, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &service{stored: make(map[string]Profile)}
			srv := httptest.NewServer(fake)
			t.Cleanup(srv.Close)
			targets := []*Target{{URL: srv.URL, Client: srv.Client()}, {URL: srv.URL, Client: srv.Client()}}
			people, err := LogIn(t.Context(), targets, srv.URL, "user", 2, 2)
			if err != nil {
				t.Fatal(err)
			}
			people.Renewers = people.Readers
			load := &Load{
				Targets: targets, Codes: srv.URL, Rate: 100, Mix: []Share{{Read, 40}, {Renew, 15}, {Write, 40}, {Login, 5}},
				People: people, Ledger: NewLedger(people.Writers), Newcomers: true,
			}
			load.Start(t.Context())
			eventually(t, func() bool { return load.Stats().Requests >= 10 })
			fake.mu.Lock()
			tt.fault(fake)
			fake.mu.Unlock()
			load.Begin()
			failures := func(s Stats) (expected int) {
				for text, n := range s.Failures {
					if tt.failure != "" && strings.Contains(text, tt.failure) {
						expected += n
					}
				}
				return expected
			}
			eventually(t, func() bool {
				s := load.Stats()
				return s.Requests >= 60 && (tt.failure == "" || failures(s) > 0) && (!tt.lost || s.Stale > 0)
			})
			fake.mu.Lock()
			fake.status, fake.hangUp = 0, false
			fake.mu.Unlock()
			if err := load.VerifyRunning(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := load.Stats()
			if s.Failed != failures(s) || (s.Failed > 0) != (tt.failure != "") || s.Last.Before(s.First) {
				t.Errorf("%d failures from %v to %v, want only %q: %v", s.Failed, s.First, s.Last, tt.failure, s.Failures)
			}
			if (s.Lost > 0) != tt.lost || (s.Stale > 0) != tt.lost {
				t.Errorf("lost %d, stale %d; want some: %v", s.Lost, s.Stale, tt.lost)
			}
		})
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within a minute")
		}
	}
}
