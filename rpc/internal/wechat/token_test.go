package wechat

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
	"shares/simulator"
)

const stablePath = "/cgi-bin/stable_token"

func TestColdCallersOfTwoReplicasFetchOneToken(t *testing.T) {
	server := testenv.Redis(t)
	w := newWorld(t, simulator.Options{})
	replicas := []*Client{
		w.client(func(o *Options) { o.Redis = redisClient(t, server.Addr()) }),
		w.client(func(o *Options) { o.Redis = redisClient(t, server.Addr()) }),
	}
	alice := w.alice(replicas[0])
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if _, err := replicas[i%2].CheckText(t.Context(), alice, "小明"); err != nil {
				w.failed(err)
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := w.calls(stablePath); n != 1 {
		t.Errorf("%d calls of stable_token, want 1", n)
	}
}

func TestRotationUnderLoadFailsNoRequest(t *testing.T) {
	server := testenv.Redis(t)
	w := newWorld(t, simulator.Options{Limits: simulator.Limits{TextsPerMinute: -1}})
	replicas := []*Client{
		w.client(func(o *Options) { o.Redis = redisClient(t, server.Addr()) }),
		w.client(func(o *Options) { o.Redis = redisClient(t, server.Addr()) }),
	}
	alice := w.alice(replicas[0])
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var done [16]atomic.Int64 // by caller
	var wg sync.WaitGroup
	for i := range done {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := replicas[i%2].CheckText(t.Context(), alice, "小明"); err != nil {
					w.failed(err)
					t.Errorf("caller %d: %v", i, err)
					return
				}
				done[i].Add(1)
			}
		})
	}
	// A request is made again once: two rotations during one request are more than is promised, so that each caller must get through
	// before the next.
	more := func(n int64) {
		t.Helper()
		for i := range done {
			from := done[i].Load()
			eventually(t, "requests that succeed", func() bool { return done[i].Load() >= from+n || t.Failed() })
		}
	}
	more(3)
	const rotations = 2
	for range rotations {
		w.sim.RotateToken()
		more(3)
	}
	stop()
	wg.Wait()
	if n := w.calls(stablePath); n != 1+rotations {
		t.Errorf("%d calls of stable_token, want one and one for each of %d rotations", n, rotations)
	}
}

func TestTokenOutlivesRedis(t *testing.T) {
	for name, away := range map[string]struct {
		leave, comeBack func(*testenv.RedisServer) error
	}{
		"killed": {(*testenv.RedisServer).Kill, (*testenv.RedisServer).Start},
		"paused": {(*testenv.RedisServer).Pause, (*testenv.RedisServer).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			server := testenv.Redis(t)
			w := newWorld(t, simulator.Options{})
			now := newClock()
			client := func() *Client {
				return w.client(func(o *Options) {
					o.Redis, o.RedisTimeout, o.Now = redisClient(t, server.Addr()), 200*time.Millisecond, now.Now
				})
			}
			warm := client()
			alice := w.alice(warm)
			check := func(c *Client) {
				t.Helper()
				start := time.Now()
				if _, err := c.CheckText(t.Context(), alice, "小明"); err != nil {
					w.failed(err)
					t.Fatal(err)
				}
				if took := time.Since(start); took > 10*time.Second { // go-redis's own timeouts take longer
					t.Errorf("took %v", took)
				}
			}
			check(warm)

			if err := away.leave(server); err != nil {
				t.Fatal(err)
			}
			fetched := w.calls(stablePath)
			now.advance(2 * recheck) // the copy in memory is to be looked up again, in vain
			check(warm)
			check(warm)
			if n := w.calls(stablePath); n != fetched {
				t.Errorf("a process that has a token fetched %d more", n-fetched)
			}
			cold := client()
			for range 3 {
				check(cold)
			}
			if n := w.calls(stablePath); n != fetched+1 {
				t.Errorf("a cold process fetched %d tokens, want 1", n-fetched)
			}
			w.sim.RotateToken()
			check(warm)
			check(cold)
			if n := w.calls(stablePath); n != fetched+3 {
				t.Errorf("%d fetches after a rotation, want one per process", n-fetched-1)
			}

			if err := away.comeBack(server); err != nil {
				t.Fatal(err)
			}
			rc := redisClient(t, server.Addr())
			eventually(t, "Redis has a token again", func() bool {
				now.advance(2 * recheck)
				check(warm)
				check(cold)
				return rc.Exists(t.Context(), warm.tokens.key).Val() == 1
			})
		})
	}
}

// fakeWeChat is the stable_token call of a tokenSource under test.
type fakeWeChat struct {
	mu     sync.Mutex
	answer func(call int, force bool) (string, time.Duration, *Error)
	forced []bool // of each call
}

func (f *fakeWeChat) fetch(_ context.Context, force bool) (string, time.Duration, *Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forced = append(f.forced, force)
	return f.answer(len(f.forced), force)
}

func (f *fakeWeChat) calls() []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]bool(nil), f.forced...)
}

func (f *fakeWeChat) now(answer func(call int, force bool) (string, time.Duration, *Error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func gives(token string, lifetime time.Duration) func(int, bool) (string, time.Duration, *Error) {
	return func(int, bool) (string, time.Duration, *Error) { return token, lifetime, nil }
}

func newSource(f *fakeWeChat, now *clock, client redis.UniversalClient) *tokenSource {
	o := Options{
		AppID: testAppID, Redis: client, Timeout: time.Minute, RedisTimeout: 10 * time.Second, Now: now.Now, Logger: discard(),
	}
	return newTokenSource(o, newMetrics(prometheus.NewRegistry()).tokenFetches, f.fetch)
}

// wantToken gets a token and compares it.
func wantToken(t *testing.T, s *tokenSource, not, want string) {
	t.Helper()
	got, e := s.get(t.Context(), not)
	if e != nil {
		t.Fatalf("no token: %v", e)
	}
	if got != want {
		t.Errorf("token is %q, want %q", got, want)
	}
}

func TestTokenIsRefreshedBeforeItsEnd(t *testing.T) {
	for _, tc := range []struct {
		lifetime, wantLeast, wantMost time.Duration
	}{
		{7200 * time.Second, 6910 * time.Second, 6960 * time.Second},
		{301 * time.Second, 60 * time.Second, 61 * time.Second},
		{300 * time.Second, 60 * time.Second, 60 * time.Second},
		{20 * time.Second, 60 * time.Second, 60 * time.Second},
	} {
		t.Run(fmt.Sprint(tc.lifetime), func(t *testing.T) {
			now := newClock()
			f := &fakeWeChat{answer: gives("first", tc.lifetime)}
			s := newSource(f, now, nil)
			for range 20 { // the margin is random
				s.held = heldToken{}
				wantToken(t, s, "", "first")
				if use := s.held.refreshAt.Sub(now.Now()); use < tc.wantLeast || use > tc.wantMost {
					t.Fatalf("refresh after %v, want %v to %v", use, tc.wantLeast, tc.wantMost)
				}
			}
			f.now(gives("second", tc.lifetime))
			now.advance(tc.wantLeast - time.Second)
			wantToken(t, s, "", "first")
			now.advance(tc.wantMost - tc.wantLeast + time.Second)
			wantToken(t, s, "", "second")
		})
	}
}

func TestTokenFromAnotherReplicaIsFoundWithinAMinute(t *testing.T) {
	server := testenv.Redis(t)
	rc := redisClient(t, server.Addr())
	now := newClock()
	f := &fakeWeChat{answer: gives("first", 7200*time.Second)}
	s := newSource(f, now, rc)
	wantToken(t, s, "", "first")
	left := rc.PTTL(t.Context(), s.key).Val()
	if left < 6900*time.Second || left > 6960*time.Second {
		t.Errorf("token in Redis for %v, want 6910 s to 6960 s", left)
	}
	if err := rc.Set(t.Context(), s.key, "second", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	wantToken(t, s, "", "first")
	now.advance(recheck)
	wantToken(t, s, "", "second")
	if diff := cmp.Diff([]bool{false}, f.calls()); diff != "" {
		t.Errorf("fetches (-want +got):\n%s", diff)
	}
}

func TestRejectionLeavesANewerTokenAlone(t *testing.T) {
	server := testenv.Redis(t)
	rc := redisClient(t, server.Addr())
	f := &fakeWeChat{answer: gives("first", 7200*time.Second)}
	s := newSource(f, newClock(), rc)
	wantToken(t, s, "", "first")
	// Another replica has met the rejection before and stored the next token.
	if err := rc.Set(t.Context(), s.key, "second", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	s.reject(t.Context(), "first")
	wantToken(t, s, "first", "second")
	s.reject(t.Context(), "first") // a late echo
	wantToken(t, s, "first", "second")
	if got := rc.Get(t.Context(), s.key).Val(); got != "second" {
		t.Errorf("Redis has %q, want the newer token", got)
	}
	if n := len(f.calls()); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRejectedTokenIsNotTakenBackFromRedis(t *testing.T) {
	server := testenv.Redis(t)
	rc := redisClient(t, server.Addr())
	f := &fakeWeChat{answer: gives("first", 7200*time.Second)}
	s := newSource(f, newClock(), rc)
	wantToken(t, s, "", "first")
	f.now(gives("second", 7200*time.Second))
	s.reject(t.Context(), "first")
	// As if the deletion had not reached Redis.
	if err := rc.Set(t.Context(), s.key, "first", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	wantToken(t, s, "first", "second")
	if got := rc.Get(t.Context(), s.key).Val(); got != "second" {
		t.Errorf("Redis has %q, want the new token", got)
	}
}

func TestForceRefreshIsGuarded(t *testing.T) {
	server := testenv.Redis(t)
	rc := redisClient(t, server.Addr())
	now := newClock()
	f := &fakeWeChat{}
	// Normal mode gives the token that the last force_refresh made.
	current := "token-0"
	f.answer = func(call int, force bool) (string, time.Duration, *Error) {
		if force {
			current = fmt.Sprintf("token-%d", call)
		}
		return current, 7200 * time.Second, nil
	}
	s := newSource(f, now, rc)
	wantToken(t, s, "", "token-0")

	s.reject(t.Context(), "token-0")
	wantToken(t, s, "token-0", "token-3") // calls: cold, normal again, forced
	s.reject(t.Context(), "token-3")
	wantToken(t, s, "token-3", "token-3") // not forced again: WeChat insists
	if ttl := rc.PTTL(t.Context(), s.forceKey).Val(); ttl < forceApart-time.Minute || ttl > forceApart {
		t.Errorf("the guard lasts %v, want %v", ttl, forceApart)
	}
	if n := int(24 * time.Hour / forceApart); n >= 20 {
		t.Errorf("%d force_refresh a day, WeChat allows 20", n)
	}
	if err := rc.Del(t.Context(), s.forceKey).Err(); err != nil { // the guard ends
		t.Fatal(err)
	}
	wantToken(t, s, "token-3", "token-6") // calls: normal, then normal and forced
}

func TestTokenThatWeChatInsistsOnIsUsedAndNotKept(t *testing.T) {
	now := newClock()
	f := &fakeWeChat{answer: gives("only", 7200*time.Second)}
	s := newSource(f, now, nil) // no Redis, no force_refresh
	wantToken(t, s, "", "only")
	s.reject(t.Context(), "only")
	wantToken(t, s, "only", "only")
	wantToken(t, s, "", "only")
	if n := len(f.calls()); n != 3 {
		t.Errorf("%d fetches, want one for each use while the token is distrusted", n)
	}
	now.advance(distrust)
	wantToken(t, s, "", "only")
	wantToken(t, s, "", "only")
	if n := len(f.calls()); n != 4 {
		t.Errorf("%d fetches, want one more and the token kept", n)
	}
}

func TestForcedRefreshThatFailsLeavesTheTokenThatThereIs(t *testing.T) {
	server := testenv.Redis(t)
	f := &fakeWeChat{answer: func(_ int, force bool) (string, time.Duration, *Error) {
		if force {
			return "", 0, &Error{Kind: Unavailable, Code: 45009}
		}
		return "only", 7200 * time.Second, nil
	}}
	s := newSource(f, newClock(), redisClient(t, server.Addr()))
	wantToken(t, s, "", "only")
	s.reject(t.Context(), "only")
	wantToken(t, s, "only", "only")
	if diff := cmp.Diff([]bool{false, false, true}, f.calls()); diff != "" {
		t.Errorf("forced fetches (-want +got):\n%s", diff)
	}
}

func TestLockHolderThatHangsHoldsNobodyForLong(t *testing.T) {
	server := testenv.Redis(t)
	rc := redisClient(t, server.Addr())
	f := &fakeWeChat{answer: gives("token", 7200*time.Second)}
	s := newSource(f, newClock(), rc)
	s.now, s.timeout = time.Now, time.Second
	if _, err := redislock.Obtain(t.Context(), rc, s.lockKey, time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	wantToken(t, s, "", "token")
	if took := time.Since(start); took < s.timeout/4 {
		t.Errorf("waited %v for the lock, want about %v", took, s.timeout/2)
	}
}

func TestWaiterTakesTheTokenOfTheLockHolder(t *testing.T) {
	server := testenv.Redis(t)
	rc := redisClient(t, server.Addr())
	f := &fakeWeChat{answer: gives("own", 7200*time.Second)}
	s := newSource(f, newClock(), rc)
	s.timeout = time.Minute
	lock, err := redislock.Obtain(t.Context(), rc, s.lockKey, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	tries := redisCalls(t, rc)
	got := make(chan string)
	go func() {
		token, _ := s.get(context.Background(), "")
		got <- token
	}()
	eventually(t, "the lock is tried more than once", func() bool { return redisCalls(t, rc) >= tries+2 })
	if err := rc.Set(t.Context(), s.key, "holders", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if token := <-got; token != "holders" {
		t.Errorf("token is %q, want that of the lock's holder", token)
	}
	if n := len(f.calls()); n != 0 {
		t.Errorf("%d fetches, want none", n)
	}
}

// redisCalls returns how often a script was run: redislock uses one to take a lock.
func redisCalls(t *testing.T, rc redis.UniversalClient) int {
	t.Helper()
	text, err := rc.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, m := range regexp.MustCompile(`cmdstat_(?:set|evalsha|eval):calls=([0-9]+)`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		calls += n
	}
	return calls
}

func TestFlightOutlivesTheCallerWhoStartedIt(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	f := &fakeWeChat{answer: func(int, bool) (string, time.Duration, *Error) {
		close(started)
		<-release
		return "token", 7200 * time.Second, nil
	}}
	s := newSource(f, newClock(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan *Error)
	go func() {
		_, e := s.get(ctx, "")
		first <- e
	}()
	<-started
	cancel()
	if e := <-first; e == nil || e.Kind != Canceled || !errors.Is(e, context.Canceled) {
		t.Errorf("the caller who left got %v, want %v", e, Canceled)
	}
	close(release)
	wantToken(t, s, "", "token")
	if n := len(f.calls()); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRejectionDuringAFlight(t *testing.T) {
	// The flight has read the old token before it is rejected, and lands with it afterwards.
	started, release := make(chan struct{}), make(chan struct{})
	f := &fakeWeChat{answer: func(call int, _ bool) (string, time.Duration, *Error) {
		if call > 1 {
			return "new", 7200 * time.Second, nil
		}
		close(started)
		<-release
		return "old", 7200 * time.Second, nil
	}}
	s := newSource(f, newClock(), nil)
	early := make(chan string)
	go func() {
		token, _ := s.get(context.Background(), "")
		early <- token
	}()
	<-started
	s.reject(t.Context(), "old")
	late := make(chan string)
	go func() {
		token, _ := s.get(context.Background(), "old")
		late <- token
	}()
	close(release)
	<-early
	if token := <-late; token != "new" {
		t.Errorf("token after the rejection is %q, want the new one", token)
	}
	wantToken(t, s, "", "new")
}

func TestTokensOfTwoAppsAreApart(t *testing.T) {
	a := newTokenSource(Options{AppID: "wxa"}, nil, nil)
	b := newTokenSource(Options{AppID: "wxb"}, nil, nil)
	if a.key != "wx:wxa:stable_token" || b.key != "wx:wxb:stable_token" {
		t.Errorf("keys are %q and %q", a.key, b.key)
	}
}

func TestValidToken(t *testing.T) {
	for token, want := range map[string]bool{
		"":                                    false,
		"75_Ab-c":                             true,
		strings.Repeat("a", maxTokenLength):   true,
		strings.Repeat("a", maxTokenLength+1): false,
		"a b":                                 false,
		"a\n":                                 false,
		"令牌":                                  false,
		"a\x7f":                               false,
	} {
		if got := validToken(token); got != want {
			t.Errorf("validToken(%.20q) = %v, want %v", token, got, want)
		}
	}
}
