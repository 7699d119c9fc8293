package qrcode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
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

	"shares/internal/config"
	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/internal/testenv"
	"shares/rpc/internal/wechat"
)

// fakeMaker counts its calls and calls make. A nil make draws a code.
type fakeMaker struct {
	calls atomic.Int64
	make  func(ctx context.Context) ([]byte, error)
}

var drawn = append([]byte("\xff\xd8\xff"), make([]byte, 100)...)

func (m *fakeMaker) UnlimitedCode(ctx context.Context, _ wechat.CodeParams) ([]byte, error) {
	m.calls.Add(1)
	if m.make == nil {
		return drawn, nil
	}
	return m.make(ctx)
}

func (m *fakeMaker) wantCalls(t *testing.T, want int64) {
	t.Helper()
	if got := m.calls.Load(); got != want {
		t.Errorf("WeChat was called %d times, want %d", got, want)
	}
}

func (m *fakeMaker) fail(err error) {
	m.make = func(context.Context) ([]byte, error) { return nil, err }
}

// failingStore returns the errors exists and put instead of calling Store.
type failingStore struct {
	Store
	exists, put error
}

func (s *failingStore) Exists(ctx context.Context, name string) (bool, error) {
	if s.exists != nil {
		return false, s.exists
	}
	return s.Store.Exists(ctx, name)
}

func (s *failingStore) Put(ctx context.Context, name string, data []byte) error {
	if s.put != nil {
		return s.put
	}
	return s.Store.Put(ctx, name, data)
}

// folder returns a bucket in a folder, which other replicas may use.
func folder(t *testing.T, dir string) Store {
	t.Helper()
	s, err := pictures.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// service returns a Service with defaults for missing options and a timeout for a busy machine.
func service(t *testing.T, opts Options) *Service {
	t.Helper()
	opts.Config.WechatAppID, opts.Config.QRCodeLineColor = "wx0123456789abcdef", "#000000"
	if opts.Store == nil {
		opts.Store = folder(t, t.TempDir())
	}
	if opts.Config.RPCTimeout == 0 {
		opts.Config.RPCTimeout = time.Minute
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

// limits is the configuration of the limits.
func limits(perMinute, perUserDay int) config.Config {
	return config.Config{QRCodePerMinute: perMinute, QRCodePerUserDay: perUserDay}
}

func client(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() }) // some tests have stopped its server
	return c
}

func get(t *testing.T, s *Service, user int64, scene string) error {
	t.Helper()
	_, err := s.Name(t.Context(), user, "pages/a", scene)
	return err
}

func wantObjects(t *testing.T, dir string, want int) {
	t.Helper()
	got, err := filepath.Glob(filepath.Join(dir, "qrcode", "*"))
	if err != nil || len(got) != want {
		t.Errorf("the bucket has %q, %v, want %d objects", got, err, want)
	}
}

func TestNameIsOfAPictureInTheBucket(t *testing.T) {
	dir := t.TempDir()
	maker := &fakeMaker{}
	redis := client(t, testenv.Redis(t).Addr())
	for range 2 { // the second replica finds the code in the bucket
		s := service(t, Options{Maker: maker, Store: folder(t, dir), Redis: redis, Config: limits(1, 1)})
		for range 2 {
			name, err := s.Name(t.Context(), 1, "pages/index", "id=1")
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, name))
			if diff := cmp.Diff(drawn, data); diff != "" || err != nil {
				t.Errorf("%v, (-want +got):\n%s", err, diff)
			}
		}
	}
	maker.wantCalls(t, 1)
}

func TestWithoutRedis(t *testing.T) {
	server := testenv.Redis(t)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	const scene = "secret-scene"
	dir := t.TempDir()
	maker := &fakeMaker{}
	var log bytes.Buffer
	s := service(t, Options{
		Maker: maker, Store: folder(t, dir), Redis: client(t, server.Addr()), Config: limits(1, 1),
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := get(t, s, 7, scene); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	maker.wantCalls(t, 1)
	if err := get(t, s, 7, "another"); err != nil { // the limits fail open
		t.Error(err)
	}
	wantObjects(t, dir, 2)
	if !strings.Contains(log.String(), "redis is unavailable") || strings.Contains(log.String(), scene) {
		t.Errorf("log: %s", log.String())
	}
}

func TestRedisFailsDuringGeneration(t *testing.T) {
	server := testenv.Redis(t)
	maker := &fakeMaker{make: func(context.Context) ([]byte, error) { return drawn, server.Kill() }}
	s := service(t, Options{Maker: maker, Redis: client(t, server.Addr()), Config: limits(0, 10)})
	for _, scene := range []string{"a", "b"} {
		if err := get(t, s, 1, scene); err != nil {
			t.Error(err)
		}
	}
}

func TestFailedGeneration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refused := errors.New("refused")
	maker := &fakeMaker{}
	maker.fail(refused)
	s := service(t, Options{Maker: maker, Store: folder(t, dir)})
	start := time.Now()
	for range 5 {
		if err := get(t, s, 1, "a"); !errors.Is(err, refused) {
			t.Fatalf("got %v", err)
		}
	}
	if n := maker.calls.Load(); n != 1 && time.Since(start) < failedFor {
		t.Errorf("WeChat was called %d times, want once", n)
	}
	if err := get(t, s, 1, "b"); err == nil {
		t.Error("another code: got no error, want its own failure")
	}
	wantObjects(t, dir, 0)
	maker.make = nil
	for deadline := time.Now().Add(time.Minute); get(t, s, 1, "a") != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the failure is still cached after a minute")
		}
	}
	wantObjects(t, dir, 1)
}

func TestBucketIsDown(t *testing.T) {
	down := errors.New("down")
	for name, tt := range map[string]struct {
		store failingStore
		calls int64
	}{
		"exists": {failingStore{exists: down}, 0},
		"put":    {failingStore{put: down}, 1},
	} {
		maker := &fakeMaker{}
		store := &failingStore{folder(t, t.TempDir()), tt.store.exists, tt.store.put}
		s := service(t, Options{Maker: maker, Store: store})
		if err := get(t, s, 1, "a"); !errors.Is(err, down) {
			t.Errorf("%s: got %v", name, err)
		}
		maker.wantCalls(t, tt.calls)
		store.exists, store.put = nil, nil
		s.known.InvalidateAll()
		if err := get(t, s, 1, "a"); err != nil {
			t.Errorf("%s, after the bucket has recovered: %v", name, err)
		}
	}
}

// wantCap checks that err is of a limit: the user's cap if user is true, else the common quota.
func wantCap(t *testing.T, err error, user bool) {
	t.Helper()
	why, metadata := reason.Of(err)
	if users := len(metadata["retry_after"]) > 2; why != reason.RateLimited || users != user {
		t.Errorf("got %v, want RATE_LIMITED by the user's cap: %v", err, user)
	}
}

func TestOnlyUsersMistakesCount(t *testing.T) {
	for _, tt := range []struct {
		fault  error
		capped bool // the next code of the same user
	}{
		{reason.Error(reason.Unavailable), false},
		{context.DeadlineExceeded, false},
		{reason.Error(reason.WechatBadAnswer), false},
		{reason.Field("page", "page_unpublished"), true},
	} {
		maker := &fakeMaker{}
		maker.fail(tt.fault)
		s := service(t, Options{Maker: maker, Config: limits(0, 1)})
		if err := get(t, s, 1, "a"); !errors.Is(err, tt.fault) {
			t.Errorf("got %v, want %v", err, tt.fault)
		}
		maker.make = nil
		if err := get(t, s, 1, "b"); tt.capped {
			wantCap(t, err, true)
		} else if err != nil {
			t.Errorf("after %v: %v", tt.fault, err)
		}
	}
}

func TestLimitsOfReplicas(t *testing.T) {
	redis := client(t, testenv.Redis(t).Addr())
	dir := t.TempDir()
	maker := &fakeMaker{}
	reg := prometheus.NewRegistry()
	one := service(t, Options{Maker: maker, Store: folder(t, dir), Redis: redis, Config: limits(2, 1), Metrics: reg})
	two := service(t, Options{Maker: maker, Store: folder(t, dir), Redis: redis, Config: limits(2, 1)})
	if err := get(t, one, 1, "a"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a capped user does not use up the quota
		wantCap(t, get(t, one, 1, "b"), true)
	}
	if err := get(t, two, 2, "b"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a refusal by the quota does not count for the user's cap
		wantCap(t, get(t, one, 3, "c"), false)
	}
	if err := errors.Join(get(t, two, 3, "a"), get(t, one, 1, "b")); err != nil {
		t.Errorf("codes that exist: %v", err)
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

// If the first caller of a flight is capped, the other users of the flight still get the code.
func TestCapOfOneUserIsNotTheOthers(t *testing.T) {
	s := service(t, Options{Maker: &fakeMaker{}, Config: limits(0, 1)})
	const capped = 5
	for user := range int64(capped) {
		if err := get(t, s, user, fmt.Sprint("own-", user)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 20 {
		var wg sync.WaitGroup
		scene := fmt.Sprint("shared-", round)
		fresh := int64(capped + round)
		for _, user := range []int64{0, 1, 2, 3, 4, fresh} {
			wg.Go(func() {
				err := get(t, s, user, scene)
				// A capped user is refused, unless the code already existed.
				if why, _ := reason.Of(err); err != nil && (user == fresh || why != reason.RateLimited) {
					t.Errorf("user %d: %v", user, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestFlightOutlivesItsCaller(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	maker := &fakeMaker{make: func(ctx context.Context) ([]byte, error) {
		close(started)
		<-finish
		return drawn, ctx.Err()
	}}
	s := service(t, Options{Maker: maker})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.Name(ctx, 1, "pages/a", "a")
		left <- err
	}()
	<-started
	cancel()
	if _, err := s.Name(ctx, 1, "pages/a", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: got %v, want context.Canceled", err)
	}
	close(finish)
	if err := <-left; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := get(t, s, 2, "a"); err != nil {
		t.Error(err)
	}
	maker.wantCalls(t, 1)
}

func TestTimeout(t *testing.T) {
	maker := &fakeMaker{make: func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }}
	s := service(t, Options{Maker: maker, Config: config.Config{RPCTimeout: 400 * time.Millisecond}})
	if err := get(t, s, 1, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A panic while a code is made ends only its flight.
func TestPanicEndsTheFlight(t *testing.T) {
	maker := &fakeMaker{make: func(context.Context) ([]byte, error) { panic("oh") }}
	s := service(t, Options{Maker: maker})
	func() {
		defer func() { _ = recover() }()
		if err := get(t, s, 1, "a"); err == nil {
			t.Error("no error")
		}
	}()
	maker.make = nil
	if err := get(t, s, 1, "a"); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}
