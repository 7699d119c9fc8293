package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
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
		fault func(*service)
		kind  string // of failure
		lost  bool
	}{
		"all well":      {fault: func(*service) {}},
		"unavailable":   {fault: func(s *service) { s.status = http.StatusServiceUnavailable }, kind: "503"},
		"hung up":       {fault: func(s *service) { s.hangUp = true }, kind: "eof"},
		"sessions lost": {fault: func(s *service) { s.relogin = true }, kind: "session lost"},
		"writes lost":   {fault: func(s *service) { s.forget = true }, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &service{stored: make(map[string]Profile)}
			srv := httptest.NewServer(fake)
			t.Cleanup(srv.Close)
			run, err := Start(t.Context(), srv.URL, srv.URL, 4, 100)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return run.Stats().Requests >= 10 })
			fake.mu.Lock()
			tt.fault(fake)
			fake.mu.Unlock()
			run.Begin()
			eventually(t, func() bool {
				s := run.Stats()
				return s.Requests >= 60 && (tt.kind == "" || s.Kinds[tt.kind] > 0) && (!tt.lost || s.Stale > 0)
			})
			fake.mu.Lock()
			fake.status, fake.hangUp = 0, false
			fake.mu.Unlock()
			if err := run.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := run.Stats()
			if tt.kind == "" && s.Failed > 0 || tt.kind != "" && s.Kinds[tt.kind] != s.Failed {
				t.Errorf("failures are %v of %d, want only %q: %v", s.Kinds, s.Failed, tt.kind, s.Samples)
			}
			if (s.Lost > 0) != tt.lost || (s.Stale > 0) != tt.lost {
				t.Errorf("lost %d, stale %d; want some: %v", s.Lost, s.Stale, tt.lost)
			}
			if tt.kind == "503" && (s.First.IsZero() || s.Last.Before(s.First)) {
				t.Errorf("failures between %v and %v", s.First, s.Last)
			}
		})
	}
}

func TestKind(t *testing.T) {
	refused := httptest.NewServer(nil)
	refused.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then can the server see that the client disconnects
		<-r.Context().Done()
	}))
	t.Cleanup(slow.Close)
	for _, tt := range []struct {
		url, want string
		limit     time.Duration
	}{{refused.URL, "refused", time.Minute}, {slow.URL, "timeout", 200 * time.Millisecond}} {
		ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
		a := Request(ctx, newClient(false), http.MethodPost, tt.url, "", struct{}{})
		cancel()
		if got := a.Kind(); got != tt.want {
			t.Errorf("%v is %q, want %q", a.Err, got, tt.want)
		}
	}
}

// No port is reused before all others.
func TestPorts(t *testing.T) {
	var ports []int
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ports = append(ports, int(netip.MustParseAddrPort(r.RemoteAddr).Port()))
	}))
	t.Cleanup(srv.Close)
	client := newClient(false)
	for range 20 {
		if err := Request(t.Context(), client, http.MethodPost, srv.URL, "", struct{}{}).Failure(); err != nil {
			t.Fatal(err)
		}
	}
	for i, port := range ports {
		if port < firstPort || port >= lastPort || i > 0 && port < ports[i-1] && port > firstPort+100 {
			t.Errorf("port %d after %d", port, ports[max(0, i-1)])
		}
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
