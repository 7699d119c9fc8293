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

// service is as much of the real one as the load needs, with faults.
type service struct {
	mu      sync.Mutex
	names   map[string]string // by session, which is the user's name
	status  int               // answered instead, if not 0
	forget  bool              // writes are acknowledged and dropped
	relogin bool              // sessions are lost
	hangUp  bool              // no answer at all
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in map[string]string
	_ = json.NewDecoder(r.Body).Decode(&in)
	session := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.URL.Path == "/simulator/code":
		fmt.Fprintf(w, `{"code":%q}`, in["user"])
	case s.hangUp:
		panic(http.ErrAbortHandler)
	case s.status != 0:
		w.WriteHeader(s.status)
	case strings.HasSuffix(r.URL.Path, ".oauth"):
		fmt.Fprintf(w, `{"sessionId":%q}`, in["jscode"])
	case strings.HasSuffix(r.URL.Path, ".re_login"):
		fmt.Fprintf(w, `{"relogin":%v,"sessionId":%q}`, s.relogin, session)
	case strings.HasSuffix(r.URL.Path, ".update_user_info"):
		if !s.forget {
			s.names[session] = in["nickName"]
		}
		fmt.Fprint(w, `{}`)
	default:
		fmt.Fprintf(w, `{"nickName":%q}`, s.names[session])
	}
}

func TestLoad(t *testing.T) {
	for name, tt := range map[string]struct {
		fault func(*service)
		kind  string // of failure
		lost  bool
		stale bool
	}{
		"all well":      {},
		"unavailable":   {fault: func(s *service) { s.status = http.StatusServiceUnavailable }, kind: "503"},
		"hung up":       {fault: func(s *service) { s.hangUp = true }, kind: "eof"},
		"sessions lost": {fault: func(s *service) { s.relogin = true }, kind: "session lost"},
		"writes lost":   {fault: func(s *service) { s.forget = true }, lost: true, stale: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &service{names: make(map[string]string)}
			srv := httptest.NewServer(fake)
			t.Cleanup(srv.Close)
			run := Start(t.Context(), Options{Service: srv.URL, Codes: srv.URL, Users: 2, Pace: 20 * time.Millisecond})
			eventually(t, func() bool { s := run.Stats(); return s.Logins >= 2 && s.Requests >= 8 })
			if tt.fault != nil {
				fake.mu.Lock()
				tt.fault(fake)
				fake.mu.Unlock()
			}
			run.Begin()
			eventually(t, func() bool {
				s := run.Stats()
				return s.Requests >= 60 && (tt.kind == "" || s.Kinds[tt.kind] > 0) && (!tt.stale || s.Stale > 0)
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
			if (s.Lost > 0) != tt.lost || (s.Stale > 0) != tt.stale {
				t.Errorf("lost %d, stale %d; want lost %v, stale %v", s.Lost, s.Stale, tt.lost, tt.stale)
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
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client went away
		<-r.Context().Done()
	}))
	t.Cleanup(slow.Close)
	for _, tt := range []struct {
		url, want string
		limit     time.Duration
	}{{refused.URL, "refused", time.Minute}, {slow.URL, "timeout", 200 * time.Millisecond}} {
		ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
		err := Call(ctx, NewClient(false), tt.url, "", struct{}{}, nil)
		cancel()
		if got := Kind(err); got != tt.want {
			t.Errorf("%v is %q, want %q", err, got, tt.want)
		}
	}
}

// Ports are not come back to before all others have been.
func TestPorts(t *testing.T) {
	var ports []int
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		address, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			t.Error(err)
		}
		ports = append(ports, int(address.Port()))
	}))
	t.Cleanup(srv.Close)
	client := NewClient(false)
	for range 20 {
		if err := Call(t.Context(), client, srv.URL, "", struct{}{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, port := range ports {
		if port < firstPort || port >= lastPort || i > 0 && port < ports[i-1] && port > firstPort+100 {
			t.Errorf("from %d after %d", port, ports[max(0, i-1)])
		}
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}
