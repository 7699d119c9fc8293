package qrcode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"shares/internal/images"
	"shares/internal/testenv"
)

// fakeMaker counts its calls; make is what WeChat does, nil draws a code.
type fakeMaker struct {
	calls atomic.Int64
	make  func(ctx context.Context, p Params) ([]byte, error)
	image []byte
}

func newMaker(t testing.TB, make func(context.Context, Params) ([]byte, error)) *fakeMaker {
	return &fakeMaker{make: make, image: encoded(t, "jpeg", 100)}
}

func (m *fakeMaker) UnlimitedCode(ctx context.Context, p Params) ([]byte, string, error) {
	m.calls.Add(1)
	if m.make == nil {
		return m.image, "image/jpeg", nil
	}
	data, err := m.make(ctx, p)
	return data, "image/jpeg", err
}

func (m *fakeMaker) wantCalls(t *testing.T, want int64) {
	t.Helper()
	if got := m.calls.Load(); got != want {
		t.Errorf("WeChat was called %d times, want %d", got, want)
	}
}

// fakeStore counts calls in front of a Store, and fails where told to.
type fakeStore struct {
	Store
	exists             atomic.Int64
	existsErr, putsErr error
	looked             func() // runs after the first Exists
}

func (s *fakeStore) Exists(ctx context.Context, name string) (bool, error) {
	n := s.exists.Add(1)
	if s.existsErr != nil {
		return false, s.existsErr
	}
	found, err := s.Store.Exists(ctx, name)
	if s.looked != nil && n == 1 {
		s.looked()
	}
	return found, err
}

func (s *fakeStore) Put(ctx context.Context, name, contentType string, data []byte) error {
	if s.putsErr != nil {
		return s.putsErr
	}
	return s.Store.Put(ctx, name, contentType, data)
}

// bucket returns an empty folder and a function that opens it once more, as
// every replica does.
func bucket(t *testing.T) (dir string, open func() Store) {
	t.Helper()
	dir = t.TempDir()
	u, err := images.FileURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, func() Store {
		s, err := images.Open(t.Context(), u, images.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
}

func memory(t *testing.T) Store {
	t.Helper()
	s, err := images.Open(t.Context(), "mem://", images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // memory
	return s
}

func wantObjects(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(dir, path)
			got = append(got, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects in the bucket: %s", diff)
	}
}

func client(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // its server is gone in some tests
	return c
}

// service has the patience that a busy machine needs, unless a test asks for
// less.
func service(t *testing.T, opts Options) *Service {
	t.Helper()
	opts.AppID = "wx0123456789abcdef"
	if opts.Timeout == 0 {
		opts.Timeout = 20 * time.Second
	}
	if opts.RedisTimeout == 0 {
		opts.RedisTimeout = 5 * time.Second
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clock is a clock that the test moves.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func slowly(t testing.TB, d time.Duration) func(context.Context, Params) ([]byte, error) {
	image := encoded(t, "jpeg", 100)
	return func(ctx context.Context, _ Params) ([]byte, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(d):
			return image, nil
		}
	}
}

func TestOneGenerationAmongReplicas(t *testing.T) {
	const callers = 1000
	addr := testenv.Redis(t).Addr()
	dir, open := bucket(t)
	maker := newMaker(t, slowly(t, 150*time.Millisecond))
	replica := func() *Service {
		return service(t, Options{
			Maker: maker, Store: open(), Redis: client(t, addr),
			QuotaPerMinute: 1, NewPerUserPerHour: 1, NewPerUserPerDay: 1,
		})
	}
	replicas := []*Service{replica(), replica()}

	names, errs := make([]string, callers), make([]error, callers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			<-start
			names[i], errs[i] = replicas[i%2].URLName(t.Context(), int64(i), "pages/index", "id=1")
		})
	}
	close(start)
	wg.Wait()
	for i := range callers {
		if errs[i] != nil || names[i] != names[0] {
			t.Fatalf("caller %d got %q, %v", i, names[i], errs[i])
		}
	}
	maker.wantCalls(t, 1)
	wantObjects(t, dir, names[0])

	// A replica that starts later finds it.
	name, err := replica().URLName(t.Context(), 1, "pages/index", "id=1")
	if err != nil || name != names[0] {
		t.Errorf("later: %q, %v", name, err)
	}
	maker.wantCalls(t, 1)
}

func TestWithoutRedis(t *testing.T) {
	redis := testenv.Redis(t)
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	const scene = "nobody-else-reads-this"
	dir, open := bucket(t)
	maker := newMaker(t, slowly(t, 100*time.Millisecond))
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	replica := func() *Service {
		return service(t, Options{
			Maker: maker, Store: open(), Redis: client(t, redis.Addr()),
			QuotaPerMinute: 1, NewPerUserPerHour: 1, Logger: logger, RedisTimeout: 100 * time.Millisecond,
		})
	}
	replicas := []*Service{replica(), replica()}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if _, err := replicas[i%2].URLName(t.Context(), 7, "", scene); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := maker.calls.Load(); n < 1 || n > 2 {
		t.Errorf("%d calls to WeChat of 2 replicas", n)
	}
	name, err := replicas[0].URLName(t.Context(), 7, "", scene)
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, dir, name)
	// The limits fail open.
	if _, err := replicas[0].URLName(t.Context(), 7, "", "another"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "call=lock") || strings.Contains(log.String(), scene) {
		t.Errorf("log: %s", log.String())
	}
}

// A Redis that answers late for a moment costs time, not a second generation.
func TestRedisHiccup(t *testing.T) {
	redis := testenv.Redis(t)
	maker := newMaker(t, nil)
	s := service(t, Options{Maker: maker, Store: memory(t), Redis: client(t, redis.Addr()), NewPerUserPerHour: 1, RedisTimeout: time.Second})
	if err := redis.Pause(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(1200*time.Millisecond, func() {
		if err := redis.Resume(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
		t.Fatal(err)
	}
	_, err := s.URLName(t.Context(), 1, "", "b")
	wantLimit(t, err, ErrUserCap, time.Hour) // Redis was heard about the first
}

func TestRedisFailsDuringGeneration(t *testing.T) {
	for name, fail := range map[string]func(*testenv.RedisServer) error{
		"killed": (*testenv.RedisServer).Kill,
		"paused": (*testenv.RedisServer).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			redis := testenv.Redis(t)
			draw := slowly(t, 50*time.Millisecond)
			maker := newMaker(t, func(ctx context.Context, p Params) ([]byte, error) {
				if err := fail(redis); err != nil {
					t.Error(err)
				}
				return draw(ctx, p)
			})
			s := service(t, Options{Maker: maker, Store: memory(t), Redis: client(t, redis.Addr()), NewPerUserPerHour: 10, RedisTimeout: 100 * time.Millisecond})
			start := time.Now()
			if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
				t.Fatal(err)
			}
			maker.make = draw
			if _, err := s.URLName(t.Context(), 1, "", "b"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("two codes took %v", took)
			}
		})
	}
}

// A replica that is killed while it makes a code must not take the others'
// requests with it.
func TestLockOfDeadReplica(t *testing.T) {
	t.Parallel()
	redis := client(t, testenv.Redis(t).Addr())
	maker := newMaker(t, nil)
	s := service(t, Options{Maker: maker, Store: memory(t), Redis: redis})
	name := objectName(s.opts.AppID, Params{Scene: "a", Style: s.opts.Style})
	if err := redis.Set(t.Context(), s.key("lock", name), "dead", lockLife).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
		t.Fatal(err)
	}
	maker.wantCalls(t, 1)
}

// A replica looked into the bucket before another one's picture was there, and
// gets the lock after the other one has released it.
func TestMadeBetweenLookAndLock(t *testing.T) {
	addr := testenv.Redis(t).Addr()
	_, open := bucket(t)
	maker := newMaker(t, nil)
	one := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr)})
	two := service(t, Options{Maker: maker, Redis: client(t, addr), Store: &fakeStore{Store: open(), looked: func() {
		if _, err := one.URLName(t.Context(), 1, "", "a"); err != nil {
			t.Error(err)
		}
	}}})
	if _, err := two.URLName(t.Context(), 2, "", "a"); err != nil {
		t.Fatal(err)
	}
	maker.wantCalls(t, 1)
}

// A replica that waits for the lock sees the picture as soon as it is there.
func TestFoundWhileWaiting(t *testing.T) {
	redis := client(t, testenv.Redis(t).Addr())
	store := memory(t)
	maker := newMaker(t, nil)
	fake := &fakeStore{Store: store}
	s := service(t, Options{Maker: maker, Store: fake, Redis: redis})
	name := objectName(s.opts.AppID, Params{Scene: "a", Style: s.opts.Style})
	fake.looked = func() {
		if err := store.Put(t.Context(), name, "image/jpeg", maker.image); err != nil {
			t.Error(err)
		}
	}
	if err := redis.Set(t.Context(), s.key("lock", name), "held for ever", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
		t.Fatal(err)
	}
	maker.wantCalls(t, 0)
}

func TestSlowGenerationKeepsItsLock(t *testing.T) {
	t.Parallel()
	addr := testenv.Redis(t).Addr()
	_, open := bucket(t)
	maker := newMaker(t, slowly(t, lockLife+lockRefresh))
	var wg sync.WaitGroup
	for range 2 {
		s := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr)})
		wg.Go(func() {
			if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	maker.wantCalls(t, 1)
}

func TestRepeatCostsNoIO(t *testing.T) {
	var clock clock
	store := &fakeStore{Store: memory(t)}
	maker := newMaker(t, nil)
	s := service(t, Options{Maker: maker, Store: store, KnownFor: time.Minute, Now: clock.now})
	get := func() {
		t.Helper()
		if _, err := s.URLName(t.Context(), 1, "pages/a", "a"); err != nil {
			t.Fatal(err)
		}
	}
	get()
	before := store.exists.Load()
	get()
	clock.advance(time.Minute - 1)
	get()
	if got := store.exists.Load(); got != before {
		t.Errorf("%d looks into the bucket for a known code", got-before)
	}
	clock.advance(1)
	get()
	get()
	if got := store.exists.Load(); got != before+1 {
		t.Errorf("%d looks into the bucket after KnownFor, want 1", got-before)
	}
	maker.wantCalls(t, 1)
}

type wechatError struct{ code int }

func (e *wechatError) Error() string { return fmt.Sprint("wechat error ", e.code) }

func TestFailedGeneration(t *testing.T) {
	var clock clock
	dir, open := bucket(t)
	maker := newMaker(t, func(context.Context, Params) ([]byte, error) { return nil, &wechatError{41030} })
	s := service(t, Options{Maker: maker, Store: open(), FailureMemory: 3 * time.Second, Now: clock.now})
	for range 50 {
		_, err := s.URLName(t.Context(), 1, "pages/a", "a")
		var e *wechatError
		if !errors.As(err, &e) || e.code != 41030 {
			t.Fatalf("got %v", err)
		}
	}
	maker.wantCalls(t, 1)
	wantObjects(t, dir)
	if _, err := s.URLName(t.Context(), 1, "pages/b", "a"); err == nil {
		t.Error("another code fails on its own")
	}
	maker.wantCalls(t, 2)

	maker.make = nil
	if _, err := s.URLName(t.Context(), 1, "pages/a", "a"); err == nil {
		t.Error("the failure was forgotten at once")
	}
	clock.advance(3 * time.Second)
	name, err := s.URLName(t.Context(), 1, "pages/a", "a")
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, dir, name)
	maker.wantCalls(t, 3)
}

func TestFailureAmongReplicas(t *testing.T) {
	away := &wechatError{-1}
	for _, tc := range []struct {
		name  string
		fails error
		calls int64
		other error // what the other replica answers
	}{
		{"WeChat is away", away, 1, ErrJustFailed},
		{"WeChat refuses the page", &wechatError{41030}, 2, &wechatError{41030}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := testenv.Redis(t).Addr()
			maker := newMaker(t, func(context.Context, Params) ([]byte, error) { return nil, tc.fails })
			replica := func() *Service {
				return service(t, Options{
					Maker: maker, Store: memory(t), Redis: client(t, addr), FailureMemory: 500 * time.Millisecond,
					Blameless: func(err error) bool { return errors.Is(err, away) },
				})
			}
			one, two := replica(), replica()
			if _, err := one.URLName(t.Context(), 1, "", "a"); !errors.Is(err, tc.fails) {
				t.Errorf("first replica: %v", err)
			}
			if _, err := two.URLName(t.Context(), 1, "", "a"); err == nil || errors.Is(err, ErrJustFailed) != errors.Is(tc.other, ErrJustFailed) {
				t.Errorf("second replica: %v, want %v", err, tc.other)
			}
			maker.wantCalls(t, tc.calls)

			maker.make = nil
			deadline := time.Now().Add(5 * time.Second)
			for {
				_, err := two.URLName(t.Context(), 1, "", "a")
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
}

func TestBadImageIsNotStored(t *testing.T) {
	for name, data := range badImages(t) {
		t.Run(name, func(t *testing.T) {
			dir, open := bucket(t)
			maker := newMaker(t, func(context.Context, Params) ([]byte, error) { return data, nil })
			s := service(t, Options{Maker: maker, Store: open()})
			if _, err := s.URLName(t.Context(), 1, "", "a"); !errors.Is(err, ErrBadImage) {
				t.Errorf("got %v", err)
			}
			wantObjects(t, dir)
		})
	}
}

func TestContentTypeIsTheImages(t *testing.T) {
	for format, hyaline := range map[string]bool{"jpeg": false, "png": true} {
		store := memory(t)
		maker := newMaker(t, nil)
		maker.image = encoded(t, format, 280)
		s := service(t, Options{Maker: maker, Store: store, Style: Style{IsHyaline: hyaline}})
		name, err := s.URLName(t.Context(), 1, "", "a")
		if err != nil {
			t.Fatal(err)
		}
		img, err := store.(*images.Store).Get(t.Context(), name)
		if err != nil || img.ContentType != "image/"+format || strings.HasSuffix(name, ".png") != hyaline {
			t.Errorf("%s: %s, %v", name, img.ContentType, err)
		}
	}
}

func TestBucketIsDown(t *testing.T) {
	down := errors.New("down")
	t.Run("look", func(t *testing.T) {
		maker := newMaker(t, nil)
		store := &fakeStore{Store: memory(t), existsErr: down}
		s := service(t, Options{Maker: maker, Store: store})
		if _, err := s.URLName(t.Context(), 1, "", "a"); !errors.Is(err, ErrStore) {
			t.Errorf("got %v", err)
		}
		maker.wantCalls(t, 0)
		store.existsErr = nil
		if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
			t.Errorf("after the bucket is back: %v", err)
		}
	})
	t.Run("put", func(t *testing.T) {
		var clock clock
		store := &fakeStore{Store: memory(t), putsErr: down}
		s := service(t, Options{Maker: newMaker(t, nil), Store: store, Now: clock.now})
		if _, err := s.URLName(t.Context(), 1, "", "a"); !errors.Is(err, ErrStore) {
			t.Errorf("got %v", err)
		}
		store.putsErr = nil
		clock.advance(time.Minute)
		if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
			t.Errorf("after the bucket is back: %v", err)
		}
	})
}

// wantLimit checks that err is the limit, with a sensible time to wait.
func wantLimit(t *testing.T, err, limit error, atMost time.Duration) {
	t.Helper()
	var e *LimitError
	if !errors.Is(err, limit) || !errors.As(err, &e) || e.RetryAfter <= 0 || e.RetryAfter > atMost {
		t.Errorf("got %v (%+v), want %v", err, e, limit)
	}
}

func TestUserCap(t *testing.T) {
	for name, tc := range map[string]struct {
		hour, day int
		wait      time.Duration
	}{
		"hour": {2, 0, time.Hour},
		"day":  {0, 2, 24 * time.Hour},
		"both": {5, 2, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			addr := testenv.Redis(t).Addr()
			_, open := bucket(t)
			maker := newMaker(t, nil)
			replica := func() *Service {
				return service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr), NewPerUserPerHour: tc.hour, NewPerUserPerDay: tc.day})
			}
			one, two := replica(), replica()
			get := func(s *Service, user int64, scene string) error {
				_, err := s.URLName(t.Context(), user, "", scene)
				return err
			}
			if err := errors.Join(get(one, 1, "a"), get(two, 1, "b")); err != nil {
				t.Fatal(err)
			}
			wantLimit(t, get(one, 1, "c"), ErrUserCap, tc.wait)
			wantLimit(t, get(two, 1, "d"), ErrUserCap, tc.wait)
			if err := errors.Join(get(one, 1, "b"), get(two, 1, "a")); err != nil {
				t.Errorf("codes that exist: %v", err)
			}
			if err := get(one, 2, "c"); err != nil {
				t.Errorf("another user: %v", err)
			}
			if err := get(one, 1, "c"); err != nil {
				t.Errorf("made by another user meanwhile: %v", err)
			}
			maker.wantCalls(t, 3)
		})
	}
}

func TestCapCountsBlameOnly(t *testing.T) {
	away := &wechatError{-1}
	for name, tc := range map[string]struct {
		fails error
		then  error // of the next code of the same user
	}{
		"WeChat was away":           {away, nil},
		"WeChat took too long":      {context.DeadlineExceeded, nil},
		"WeChat knows no such page": {&wechatError{41030}, ErrUserCap},
	} {
		t.Run(name, func(t *testing.T) {
			maker := newMaker(t, func(context.Context, Params) ([]byte, error) { return nil, tc.fails })
			s := service(t, Options{
				Maker: maker, Store: memory(t), Redis: client(t, testenv.Redis(t).Addr()), NewPerUserPerHour: 1,
				Blameless: func(err error) bool { return errors.Is(err, away) },
			})
			if _, err := s.URLName(t.Context(), 1, "", "a"); !errors.Is(err, tc.fails) {
				t.Fatalf("got %v", err)
			}
			maker.make = nil
			if _, err := s.URLName(t.Context(), 1, "", "b"); !errors.Is(err, tc.then) {
				t.Errorf("then %v, want %v", err, tc.then)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	addr := testenv.Redis(t).Addr()
	_, open := bucket(t)
	maker := newMaker(t, nil)
	reg := prometheus.NewRegistry()
	one := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr), QuotaPerMinute: 2, NewPerUserPerDay: 1, Metrics: reg})
	two := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr), QuotaPerMinute: 2, NewPerUserPerDay: 1})
	get := func(s *Service, user int64, scene string) error {
		_, err := s.URLName(t.Context(), user, "", scene)
		return err
	}
	if err := get(one, 1, "a"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a capped user spends nothing of the quota
		wantLimit(t, get(one, 1, "b"), ErrUserCap, 24*time.Hour)
	}
	if err := get(two, 2, "b"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the quota's refusal spends nothing of the user's cap
		wantLimit(t, get(one, 3, "c"), ErrQuota, time.Minute)
	}
	if err := get(two, 3, "a"); err != nil {
		t.Errorf("a code that exists: %v", err)
	}
	maker.wantCalls(t, 2)
	want := `
# HELP shares_qrcode_generations_total Attempts to make a new QR code, by result (ok, failed, bad_image, store_failed, quota, user_cap).
# TYPE shares_qrcode_generations_total counter
shares_qrcode_generations_total{result="ok"} 1
shares_qrcode_generations_total{result="quota"} 2
shares_qrcode_generations_total{result="user_cap"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_qrcode_generations_total"); err != nil {
		t.Error(err)
	}
}

// Users who wait for the same code are not refused because the one who happened
// to come first has reached their cap.
func TestCapOfOneUserIsNotTheOthers(t *testing.T) {
	maker := newMaker(t, nil)
	s := service(t, Options{Maker: maker, Store: memory(t), Redis: client(t, testenv.Redis(t).Addr()), NewPerUserPerHour: 1})
	const capped = 5
	for user := range int64(capped) {
		if _, err := s.URLName(t.Context(), user, "", fmt.Sprint("own-", user)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 20 {
		var wg sync.WaitGroup
		scene := fmt.Sprint("shared-", round)
		fresh := int64(capped + round)
		for _, user := range []int64{0, 1, 2, 3, 4, fresh} {
			wg.Go(func() {
				_, err := s.URLName(t.Context(), user, "", scene)
				// A capped user is refused, unless the code was there by then.
				if err != nil && (user == fresh || !errors.Is(err, ErrUserCap)) {
					t.Errorf("user %d: %v", user, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestCallerLeavesTheFlightGoesOn(t *testing.T) {
	dir, open := bucket(t)
	started, finish := make(chan struct{}), make(chan struct{})
	maker := newMaker(t, nil)
	maker.make = func(ctx context.Context, _ Params) ([]byte, error) {
		close(started)
		<-finish
		return maker.image, ctx.Err()
	}
	s := service(t, Options{Maker: maker, Store: open()})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.URLName(ctx, 1, "", "a")
		left <- err
	}()
	<-started
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := s.URLName(ctx, 1, "", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that had ended: %v", err)
	}
	close(finish)
	name, err := s.URLName(t.Context(), 2, "", "a")
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, dir, name)
	maker.wantCalls(t, 1)
}

func TestTimeout(t *testing.T) {
	dir, open := bucket(t)
	maker := newMaker(t, slowly(t, time.Minute))
	s := service(t, Options{Maker: maker, Store: open(), Redis: client(t, testenv.Redis(t).Addr()), Timeout: 200 * time.Millisecond})
	start := time.Now()
	if _, err := s.URLName(t.Context(), 1, "", "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	wantObjects(t, dir)
}

func TestPanicIsAnError(t *testing.T) {
	const secret = "session-key-in-a-panic"
	var log bytes.Buffer
	maker := newMaker(t, func(context.Context, Params) ([]byte, error) { panic(secret) })
	s := service(t, Options{
		Maker: maker, Store: memory(t), Redis: client(t, testenv.Redis(t).Addr()), FailureMemory: -1,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	_, err := s.URLName(t.Context(), 1, "", "a")
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "qrcode_test.go") || strings.Contains(log.String(), secret) {
		t.Errorf("log: %s", log.String())
	}
	maker.make = nil
	if _, err := s.URLName(t.Context(), 1, "", "a"); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

func TestInvalidFields(t *testing.T) {
	maker := newMaker(t, nil)
	store := &fakeStore{Store: memory(t)}
	s := service(t, Options{Maker: maker, Store: store})
	for field, in := range map[string][2]string{"page": {"/pages/a", "a"}, "scene": {"pages/a", ""}} {
		_, err := s.URLName(t.Context(), 1, in[0], in[1])
		if got := fieldError(t, err).Field; got != field {
			t.Errorf("field %q, want %q", got, field)
		}
	}
	maker.wantCalls(t, 0)
	if n := store.exists.Load(); n != 0 {
		t.Errorf("%d looks into the bucket", n)
	}
}

func TestParamsReachTheMaker(t *testing.T) {
	var got Params
	maker := newMaker(t, nil)
	maker.make = func(_ context.Context, p Params) ([]byte, error) { got = p; return maker.image, nil }
	style := Style{EnvVersion: "trial", Width: 300, CheckPath: true, LineColor: Color{1, 2, 3}}
	s := service(t, Options{Maker: maker, Store: memory(t), Style: style})
	if _, err := s.URLName(t.Context(), 1, "pages/a", "x=1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Params{Page: "pages/a", Scene: "x=1", Style: style}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefuses(t *testing.T) {
	maker, store := newMaker(t, nil), memory(t)
	for name, opts := range map[string]Options{
		"no maker":  {Store: store, AppID: "wx"},
		"no store":  {Maker: maker, AppID: "wx"},
		"no app id": {Maker: maker, Store: store},
		"style":     {Maker: maker, Store: store, AppID: "wx", Style: Style{Width: 1}},
	} {
		if _, err := New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
