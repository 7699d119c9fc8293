package wechat

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
	"shares/simulator"
)

func TestTokenOutlivesRedis(t *testing.T) {
	for name, fault := range map[string]struct {
		begin, end func(*testenv.RedisServer) error
	}{
		"killed": {(*testenv.RedisServer).Kill, (*testenv.RedisServer).Start},
		"paused": {(*testenv.RedisServer).Pause, (*testenv.RedisServer).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testenv.Redis(t)
			w := newWorld(t, simulator.Options{})
			now := newClock()
			client := func() *Client {
				return w.client(func(o *Options) { o.Redis, o.Now = redisClient(t, server.Addr()), now.Now })
			}
			warm := client()
			alice := w.alice(warm)
			check := func(c *Client) {
				t.Helper()
				if _, err := c.IsRisky(t.Context(), alice, "小明"); w.failed(err) != "ok" {
					t.Fatal(err)
				}
			}
			wantFetches := func(want int, what string) {
				t.Helper()
				if n := w.calls(stablePath); n != want {
					t.Errorf("%s: %d calls of stable_token, want %d", what, n, want)
				}
			}
			check(warm)
			if err := fault.begin(server); err != nil {
				t.Fatal(err)
			}
			now.advance(2 * recheck) // so that the process tries to read Redis again
			check(warm)
			check(warm)
			wantFetches(1, "a process with a token")
			cold := client()
			check(cold)
			check(cold)
			wantFetches(2, "a cold process")
			w.sim.RotateToken()
			check(warm)
			check(cold)
			wantFetches(4, "after a rotation, two processes")

			if err := fault.end(server); err != nil {
				t.Fatal(err)
			}
			rc := redisClient(t, server.Addr())
			eventually(t, "Redis has a token again", func() bool {
				now.advance(2 * time.Hour)
				w.sim.RotateToken() // the simulator's clock does not advance
				check(warm)
				return rc.Exists(t.Context(), warm.tokens.key).Val() == 1
			})
		})
	}
}

type fakeWeChat struct {
	mu     sync.Mutex
	answer func(call int, force bool) (string, error)
	forced []bool // of each call
	life   time.Duration
}

func (f *fakeWeChat) fetch(_ context.Context, force bool) (string, time.Duration, error) {
	f.mu.Lock()
	f.forced = append(f.forced, force)
	call, answer := len(f.forced), f.answer
	f.mu.Unlock()
	token, e := answer(call, force)
	return token, f.life, e
}

func (f *fakeWeChat) wantCalls(t *testing.T, forced ...bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.forced, forced) {
		t.Errorf("calls of stable_token, by force: %v, want %v", f.forced, forced)
	}
}

// gives returns a WeChat that returns each token once, in order, and then repeats the last one.
func gives(tokens ...string) *fakeWeChat {
	return &fakeWeChat{life: 7200 * time.Second, answer: func(call int, _ bool) (string, error) {
		return tokens[min(call, len(tokens))-1], nil
	}}
}

func newSource(f *fakeWeChat, now *clock, client redis.UniversalClient) *tokenSource {
	s := &tokenSource{fetch: f.fetch, key: testTokenKey, Client: &Client{
		Options: Options{
			Redis: client, Timeout: time.Minute, Now: now.Now, Logger: slog.New(slog.DiscardHandler),
		},
		metrics: newMetrics(nil),
	}}
	s.held.Store(&heldToken{})
	return s
}

func wantToken(t *testing.T, s *tokenSource, not, want string) {
	t.Helper()
	if got, e := s.get(t.Context(), not); e != nil || got != want {
		t.Errorf("token is %q, %v, want %q", got, e, want)
	}
}

func TestTokenIsRefreshedBeforeItsEnd(t *testing.T) {
	for life, want := range map[time.Duration]struct{ least, most time.Duration }{
		7200 * time.Second: {6910 * time.Second, 6960 * time.Second},
		301 * time.Second:  {60 * time.Second, 61 * time.Second},
		20 * time.Second:   {60 * time.Second, 60 * time.Second},
	} {
		t.Run(fmt.Sprint(life), func(t *testing.T) {
			now, f := newClock(), gives("first")
			f.life = life
			s := newSource(f, now, noRedis)
			for range 20 { // the margin is random
				s.held.Store(&heldToken{})
				wantToken(t, s, "", "first")
				if use := s.held.Load().refreshAt.Sub(now.Now()); use < want.least || use > want.most {
					t.Fatalf("refresh after %v, want %v to %v", use, want.least, want.most)
				}
			}
			f.answer = gives("second").answer
			now.advance(want.least - time.Second)
			wantToken(t, s, "", "first")
			now.advance(want.most - want.least + time.Second)
			wantToken(t, s, "", "second")
		})
	}
}

func TestTokenIsSharedThroughRedis(t *testing.T) {
	rc := testenv.Redis(t).Client(t)
	set := func(token string) {
		t.Helper()
		if err := rc.Set(t.Context(), testTokenKey, token, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	wantShared := func(want string) {
		t.Helper()
		if got := rc.Get(t.Context(), testTokenKey).Val(); got != want {
			t.Errorf("Redis has %q, want %q", got, want)
		}
	}
	now, f := newClock(), gives("first", "third")
	s := newSource(f, now, rc)
	wantToken(t, s, "", "first")
	if left := rc.PTTL(t.Context(), s.key).Val(); left < 6900*time.Second || left > 6960*time.Second {
		t.Errorf("token in Redis for %v, want 6910 s to 6960 s", left)
	}
	set("second") // by another replica
	wantToken(t, s, "", "first")
	now.advance(recheck)
	wantToken(t, s, "", "second")
	wantToken(t, s, "first", "second") // a late rejection of the first token changes nothing
	wantShared("second")
	f.wantCalls(t, false)

	wantToken(t, s, "second", "third")
	wantShared("third")
	set("second") // as if the deletion had not reached Redis
	now.advance(recheck)
	wantToken(t, s, "second", "third") // the copy is old, and Redis has the rejected token
	wantShared("third")
	f.wantCalls(t, false, false, false)

	other := newSource(gives("other"), now, rc)
	other.key = "wxother:token"
	wantToken(t, other, "", "other")
}

// WeChat may return the rejected token again. A new one is then forced, at most 18 times a day.
func TestForceRefreshIsGuarded(t *testing.T) {
	rc := testenv.Redis(t).Client(t)
	current := "token-0" // of the last force_refresh
	f := &fakeWeChat{life: 7200 * time.Second, answer: func(call int, force bool) (string, error) {
		if force {
			current = fmt.Sprintf("token-%d", call)
		}
		return current, nil
	}}
	s := newSource(f, newClock(), rc)
	wantToken(t, s, "", "token-0")
	wantToken(t, s, "token-0", "token-3") // calls: cold, normal again, forced
	wantToken(t, s, "token-3", "token-3") // not forced again: the guard is set
	ttl := rc.PTTL(t.Context(), s.key+":force").Val()
	if ttl < forceApart-time.Minute || ttl > forceApart {
		t.Errorf("the guard lasts %v, want %v", ttl, forceApart)
	}
	if n := int(24 * time.Hour / forceApart); n >= 20 {
		t.Errorf("%d force_refresh a day, WeChat allows 20", n)
	}
	if err := rc.Del(t.Context(), s.key+":force").Err(); err != nil { // the guard ends
		t.Fatal(err)
	}
	wantToken(t, s, "token-3", "token-6") // calls: normal, then normal and forced
}

func TestUnchangedTokenIsUsed(t *testing.T) {
	refuses := &fakeWeChat{life: 7200 * time.Second, answer: func(_ int, force bool) (string, error) {
		if force {
			return "", refusal(tokenEndpoint, 45009, "")
		}
		return "only", nil
	}}
	for name, tt := range map[string]struct {
		wechat *fakeWeChat
		redis  redis.UniversalClient
		calls  []bool
	}{
		"force_refresh fails": {
			refuses, testenv.Redis(t).Client(t), []bool{false, false, true},
		},
		"no Redis, no force": {gives("only"), noRedis, []bool{false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(tt.wechat, newClock(), tt.redis)
			wantToken(t, s, "", "only")
			wantToken(t, s, "only", "only")
			wantToken(t, s, "", "only")
			tt.wechat.wantCalls(t, tt.calls...)
		})
	}
}

func TestFlightOutlivesItsFirstCaller(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	f := gives("token")
	f.answer = func(int, bool) (string, error) {
		close(started)
		<-release
		return "token", nil
	}
	s := newSource(f, newClock(), noRedis)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, e := s.get(ctx, "")
		first <- e
	}()
	<-started
	cancel()
	if e := <-first; outcome(e) != "CANCELED" {
		t.Errorf("the canceled caller got %v, want CANCELED", e)
	}
	close(release)
	wantToken(t, s, "", "token")
	f.wantCalls(t, false)
}

// A flight that began before a rejection may return the rejected token, but not to callers that
// reported the rejection.
func TestRejectionDuringAFlight(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	f := gives("old", "new")
	answer := f.answer
	f.answer = func(call int, force bool) (string, error) {
		if call == 1 {
			close(started)
			<-release
		}
		return answer(call, force)
	}
	s := newSource(f, newClock(), noRedis)
	early := make(chan struct{})
	go func() {
		defer close(early)
		_, _ = s.get(context.Background(), "")
	}()
	<-started
	wantToken(t, s, "old", "new")
	close(release)
	<-early
	wantToken(t, s, "old", "new")
}
