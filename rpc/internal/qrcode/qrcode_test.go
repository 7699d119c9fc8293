package qrcode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
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

	"shares/internal/pictures"
	"shares/internal/quota"
	"shares/internal/testenv"
	"shares/rpc/internal/wechat"
)

// fakeMaker counts its calls; make is what WeChat does, nil draws a code.
type fakeMaker struct {
	calls atomic.Int64
	make  func(ctx context.Context, p wechat.CodeParams) ([]byte, error)
	image []byte
}

func newMaker(t testing.TB, make func(context.Context, wechat.CodeParams) ([]byte, error)) *fakeMaker {
	return &fakeMaker{make: make, image: encoded(t)}
}

func (m *fakeMaker) UnlimitedCode(ctx context.Context, p wechat.CodeParams) (wechat.Image, error) {
	m.calls.Add(1)
	if m.make == nil {
		return wechat.Image{Data: m.image, ContentType: "image/jpeg"}, nil
	}
	data, err := m.make(ctx, p)
	return wechat.Image{Data: data, ContentType: "image/jpeg"}, err
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

func (s *fakeStore) Put(ctx context.Context, name string, data []byte) error {
	if s.putsErr != nil {
		return s.putsErr
	}
	return s.Store.Put(ctx, name, data)
}

func encoded(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, image.NewGray(image.Rect(0, 0, 100, 100)), nil); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// bucket returns an empty folder and a function that opens it once more, as every replica does.
func bucket(t *testing.T) (dir string, open func() Store) {
	t.Helper()
	dir = t.TempDir()
	return dir, func() Store {
		s, err := pictures.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func newStore(t *testing.T) Store {
	t.Helper()
	_, open := bucket(t)
	return open()
}

// service returns a Service with the patience that a busy machine needs, unless a test asks for
// less, and with a Redis of its own unless the test brings one.
func service(t *testing.T, opts Options) *Service {
	t.Helper()
	opts.AppID = "wx0123456789abcdef"
	opts.Style = wechat.CodeParams{EnvVersion: "release", Width: 430}
	if opts.Timeout == 0 {
		opts.Timeout = time.Minute
	}
	if opts.Redis == nil {
		opts.Redis = client(t, testenv.Redis(t).Addr())
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
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

func slowly(t testing.TB, d time.Duration) func(context.Context, wechat.CodeParams) ([]byte, error) {
	image := encoded(t)
	return func(ctx context.Context, _ wechat.CodeParams) ([]byte, error) {
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
			PerMinute: 1, PerUserDay: 1,
		})
	}
	replicas := []*Service{replica(), replica()}

	names, errs := make([]string, callers), make([]error, callers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			<-start
			names[i], errs[i] = replicas[i%2].Name(t.Context(), int64(i), "pages/index", "id=1")
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
	name, err := replica().Name(t.Context(), 1, "pages/index", "id=1")
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
			PerMinute: 1, PerUserDay: 1, Log: logger,
		})
	}
	replicas := []*Service{replica(), replica()}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if _, err := replicas[i%2].Name(t.Context(), 7, "", scene); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := maker.calls.Load(); n < 1 || n > 2 {
		t.Errorf("%d calls to WeChat of 2 replicas", n)
	}
	name, err := replicas[0].Name(t.Context(), 7, "", scene)
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, dir, name)
	// The limits fail open.
	if _, err := replicas[0].Name(t.Context(), 7, "", "another"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "without redis") || strings.Contains(log.String(), scene) {
		t.Errorf("log: %s", log.String())
	}
}

func TestRedisFailsDuringGeneration(t *testing.T) {
	for name, fail := range map[string]func(*testenv.RedisServer) error{
		"killed": (*testenv.RedisServer).Kill,
		"paused": (*testenv.RedisServer).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			redis := testenv.Redis(t)
			draw := slowly(t, 50*time.Millisecond)
			maker := newMaker(t, func(ctx context.Context, p wechat.CodeParams) ([]byte, error) {
				if err := fail(redis); err != nil {
					t.Error(err)
				}
				return draw(ctx, p)
			})
			s := service(t, Options{Maker: maker, Store: newStore(t), Redis: client(t, redis.Addr()), PerUserDay: 10})
			if _, err := s.Name(t.Context(), 1, "", "a"); err != nil {
				t.Fatal(err)
			}
			maker.make = draw
			if _, err := s.Name(t.Context(), 1, "", "b"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A replica looked into the bucket before another one's picture was there, and
// gets the lock after the other one has released it.
func TestMadeBetweenLookAndLock(t *testing.T) {
	addr := testenv.Redis(t).Addr()
	_, open := bucket(t)
	maker := newMaker(t, nil)
	one := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr)})
	two := service(t, Options{Maker: maker, Redis: client(t, addr), Store: &fakeStore{Store: open(), looked: func() {
		if _, err := one.Name(t.Context(), 1, "", "a"); err != nil {
			t.Error(err)
		}
	}}})
	if _, err := two.Name(t.Context(), 2, "", "a"); err != nil {
		t.Fatal(err)
	}
	maker.wantCalls(t, 1)
}

// A replica that waits for the lock sees the picture as soon as it is there.
func TestFoundWhileWaiting(t *testing.T) {
	redis := client(t, testenv.Redis(t).Addr())
	store := newStore(t)
	maker := newMaker(t, nil)
	fake := &fakeStore{Store: store}
	s := service(t, Options{Maker: maker, Store: fake, Redis: redis})
	name := objectName(s.opts.AppID, wechat.CodeParams{Scene: "a", EnvVersion: "release", Width: 430})
	fake.looked = func() {
		if err := store.Put(t.Context(), name, maker.image); err != nil {
			t.Error(err)
		}
	}
	if err := redis.Set(t.Context(), s.key("lock", name), "held for ever", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Name(t.Context(), 1, "", "a"); err != nil {
		t.Fatal(err)
	}
	maker.wantCalls(t, 0)
}

// A failure is answered from memory for a while, and then forgotten.
func TestFailedGeneration(t *testing.T) {
	t.Parallel()
	dir, open := bucket(t)
	refused := &wechat.Error{Kind: wechat.InvalidArgument, Field: "page"}
	maker := newMaker(t, func(context.Context, wechat.CodeParams) ([]byte, error) { return nil, refused })
	s := service(t, Options{Maker: maker, Store: open()})
	for range 5 {
		if _, err := s.Name(t.Context(), 1, "pages/a", "a"); !errors.Is(err, refused) {
			t.Fatalf("got %v", err)
		}
	}
	maker.wantCalls(t, 1)
	wantObjects(t, dir)
	if _, err := s.Name(t.Context(), 1, "pages/b", "a"); err == nil {
		t.Error("another code fails on its own")
	}
	maker.wantCalls(t, 2)

	maker.make = nil
	deadline := time.Now().Add(time.Minute)
	for {
		name, err := s.Name(t.Context(), 1, "pages/a", "a")
		if err == nil {
			wantObjects(t, dir, name)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	maker.wantCalls(t, 3)
}

func TestBucketIsDown(t *testing.T) {
	down := errors.New("down")
	t.Run("look", func(t *testing.T) {
		maker := newMaker(t, nil)
		store := &fakeStore{Store: newStore(t), existsErr: down}
		s := service(t, Options{Maker: maker, Store: store})
		if _, err := s.Name(t.Context(), 1, "", "a"); !errors.Is(err, down) {
			t.Errorf("got %v", err)
		}
		maker.wantCalls(t, 0)
		store.existsErr = nil
		if _, err := s.Name(t.Context(), 1, "", "a"); err != nil {
			t.Errorf("after the bucket is back: %v", err)
		}
	})
	t.Run("put", func(t *testing.T) {
		store := &fakeStore{Store: newStore(t), putsErr: down}
		s := service(t, Options{Maker: newMaker(t, nil), Store: store})
		if _, err := s.Name(t.Context(), 1, "", "a"); !errors.Is(err, down) {
			t.Errorf("got %v", err)
		}
		store.putsErr = nil
		s.failed.InvalidateAll()
		if _, err := s.Name(t.Context(), 1, "", "a"); err != nil {
			t.Errorf("after the bucket is back: %v", err)
		}
	})
}

// wantCap checks that err is the quota, and whether it is the user's.
func wantCap(t *testing.T, err error, user bool) {
	t.Helper()
	full, ok := errors.AsType[*quota.Error](err)
	_, users := errors.AsType[*userCapError](err)
	if !ok || users != user || full.RetryAfter <= 0 {
		t.Errorf("got %v, want a quota, of the user: %v", err, user)
	}
}

func TestUserCap(t *testing.T) {
	addr := testenv.Redis(t).Addr()
	_, open := bucket(t)
	maker := newMaker(t, nil)
	replica := func() *Service {
		return service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr), PerUserDay: 2})
	}
	one, two := replica(), replica()
	get := func(s *Service, user int64, scene string) error {
		_, err := s.Name(t.Context(), user, "", scene)
		return err
	}
	if err := errors.Join(get(one, 1, "a"), get(two, 1, "b")); err != nil {
		t.Fatal(err)
	}
	wantCap(t, get(one, 1, "c"), true)
	wantCap(t, get(two, 1, "d"), true)
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
}

func TestCapCountsBlameOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		fails  error
		capped bool // the next code of the same user
	}{
		"WeChat is unavailable":     {&wechat.Error{Kind: wechat.Unavailable}, false},
		"WeChat took too long":      {context.DeadlineExceeded, false},
		"WeChat sent no picture":    {&wechat.Error{Kind: wechat.BadAnswer}, false},
		"WeChat knows no such page": {&wechat.Error{Kind: wechat.InvalidArgument}, true},
	} {
		t.Run(name, func(t *testing.T) {
			maker := newMaker(t, func(context.Context, wechat.CodeParams) ([]byte, error) { return nil, tc.fails })
			s := service(t, Options{Maker: maker, Store: newStore(t), PerUserDay: 1})
			if _, err := s.Name(t.Context(), 1, "", "a"); !errors.Is(err, tc.fails) {
				t.Fatalf("got %v", err)
			}
			maker.make = nil
			_, err := s.Name(t.Context(), 1, "", "b")
			if tc.capped {
				wantCap(t, err, true)
			} else if err != nil {
				t.Errorf("then %v", err)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	addr := testenv.Redis(t).Addr()
	_, open := bucket(t)
	maker := newMaker(t, nil)
	reg := prometheus.NewRegistry()
	one := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr), PerMinute: 2, PerUserDay: 1, Metrics: reg})
	two := service(t, Options{Maker: maker, Store: open(), Redis: client(t, addr), PerMinute: 2, PerUserDay: 1})
	get := func(s *Service, user int64, scene string) error {
		_, err := s.Name(t.Context(), user, "", scene)
		return err
	}
	if err := get(one, 1, "a"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a capped user spends nothing of the quota
		wantCap(t, get(one, 1, "b"), true)
	}
	if err := get(two, 2, "b"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the quota's refusal spends nothing of the user's cap
		wantCap(t, get(one, 3, "c"), false)
	}
	if err := get(two, 3, "a"); err != nil {
		t.Errorf("a code that exists: %v", err)
	}
	maker.wantCalls(t, 2)
	want := `
# HELP shares_qrcode_generations_total Attempts to make a new QR code, by result (ok, failed, store_failed, quota, user_cap).
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
	s := service(t, Options{Maker: maker, Store: newStore(t), Redis: client(t, testenv.Redis(t).Addr()), PerUserDay: 1})
	const capped = 5
	for user := range int64(capped) {
		if _, err := s.Name(t.Context(), user, "", fmt.Sprint("own-", user)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 20 {
		var wg sync.WaitGroup
		scene := fmt.Sprint("shared-", round)
		fresh := int64(capped + round)
		for _, user := range []int64{0, 1, 2, 3, 4, fresh} {
			wg.Go(func() {
				_, err := s.Name(t.Context(), user, "", scene)
				// A capped user is refused, unless the code was there by then.
				if _, capped := errors.AsType[*userCapError](err); err != nil && (user == fresh || !capped) {
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
	maker.make = func(ctx context.Context, _ wechat.CodeParams) ([]byte, error) {
		close(started)
		<-finish
		return maker.image, ctx.Err()
	}
	s := service(t, Options{Maker: maker, Store: open()})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.Name(ctx, 1, "", "a")
		left <- err
	}()
	<-started
	cancel()
	if _, err := s.Name(ctx, 1, "", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that had ended: %v", err)
	}
	close(finish)
	if err := <-left; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	name, err := s.Name(t.Context(), 2, "", "a")
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, dir, name)
	maker.wantCalls(t, 1)
}

func TestTimeout(t *testing.T) {
	dir, open := bucket(t)
	maker := newMaker(t, slowly(t, time.Hour))
	s := service(t, Options{Maker: maker, Store: open(), Redis: client(t, testenv.Redis(t).Addr()), Timeout: 200 * time.Millisecond})
	if _, err := s.Name(t.Context(), 1, "", "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	wantObjects(t, dir)
}

// A panic while a code is made ends its flight, and nothing else.
func TestPanicEndsTheFlight(t *testing.T) {
	maker := newMaker(t, func(context.Context, wechat.CodeParams) ([]byte, error) { panic("oh") })
	s := service(t, Options{Maker: maker, Store: newStore(t)})
	func() {
		defer func() { _ = recover() }()
		if _, err := s.Name(t.Context(), 1, "", "a"); err == nil {
			t.Error("no error")
		}
	}()
	maker.make = nil
	if _, err := s.Name(t.Context(), 1, "", "a"); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}
