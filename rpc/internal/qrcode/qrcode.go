package qrcode

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/bsm/redislock"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"shares/rpc/internal/quota"
)

var (
	// ErrStore says that the bucket of pictures is away; the text holds its
	// error.
	ErrStore = errors.New("picture bucket failed")
	// ErrJustFailed says that another replica has failed to make this code a
	// moment ago, through no fault of the user: WeChat is not asked again yet.
	ErrJustFailed = errors.New("making the code has just failed on another replica")
)

// Maker makes one code at WeChat. It is called from one goroutine per code.
type Maker interface {
	UnlimitedCode(ctx context.Context, p Params) (data []byte, contentType string, err error)
}

// Store keeps pictures; *images.Store is one.
type Store interface {
	Exists(ctx context.Context, name string) (bool, error)
	Put(ctx context.Context, name, contentType string, data []byte) error
}

// Options of New. Maker, Store and AppID are required.
type Options struct {
	Maker Maker
	Store Store
	// Redis holds the lock and the limits that replicas share; nil is a single
	// process without limits.
	Redis redis.UniversalClient
	AppID string
	Style Style

	// QuotaPerMinute is how many codes all replicas may ask WeChat for in any
	// minute (WeChat's own limit is 5,000); 0 is no limit.
	QuotaPerMinute int
	// NewPerUserPerHour and NewPerUserPerDay are how many new codes one user
	// may have made in any hour and any day; 0 is no limit. Codes that exist
	// cost nothing.
	NewPerUserPerHour, NewPerUserPerDay int
	// Blameless reports whether a Maker's error is not the user's doing: WeChat
	// was away, as against: WeChat knows no such page. Such a failure is not
	// held against the user's cap, and holds for all replicas (ErrJustFailed).
	// Timeouts, bad images and a failing Store are always blameless; nil adds
	// nothing to them.
	Blameless func(error) bool

	// Timeout bounds a generation from the first look to the written picture,
	// waiting for other replicas included; 0 is 4.3 s, a little less than the
	// rpc's own deadline.
	Timeout time.Duration
	// RedisTimeout bounds each call to Redis; 0 is DefaultRedisTimeout. The lock gets three
	// times as long before a code is made without it.
	RedisTimeout time.Duration
	// FailureMemory is for how long a failed generation is answered from
	// memory; 0 is 3 s, negative is not at all.
	FailureMemory time.Duration
	// KnownFor is for how long a picture is taken to be in the bucket without
	// looking; 0 is 10 minutes.
	KnownFor time.Duration

	Logger *slog.Logger
	// Metrics registers shares_qrcode_generations_total and
	// shares_qrcode_redis_errors_total; nil registers nothing.
	Metrics prometheus.Registerer
	// Now is the clock of KnownFor and FailureMemory; nil is time.Now.
	Now func() time.Time
}

const (
	knownNames  = 100_000 // about 25 MB when full
	failedNames = 10_000

	// A dead replica's lock holds the others up for lockLife at most; a living
	// one extends it every lockRefresh.
	lockLife    = 2 * time.Second
	lockRefresh = 500 * time.Millisecond
	pollMin     = 40 * time.Millisecond
	pollMax     = 80 * time.Millisecond
)

// DefaultRedisTimeout is Options.RedisTimeout where it is not given.
const DefaultRedisTimeout = 250 * time.Millisecond

// Service answers with the names of codes, and has them made when they are not
// there yet. It is safe for concurrent use.
type Service struct {
	opts    Options
	locks   *redislock.Client
	known   *lru.Cache[string, time.Time] // name → when to look again
	failed  *lru.Cache[string, failure]
	flights singleflight.Group

	generations *prometheus.CounterVec
	redisErrors *prometheus.CounterVec
}

type failure struct {
	err   error
	until time.Time
}

// New returns a Service, or an error that names the option that is missing or
// outside of WeChat's bounds.
func New(opts Options) (*Service, error) {
	switch {
	case opts.Maker == nil:
		return nil, errors.New("qrcode: no Maker")
	case opts.Store == nil:
		return nil, errors.New("qrcode: no Store")
	case opts.AppID == "":
		return nil, errors.New("qrcode: no AppID")
	}
	var err error
	if opts.Style, err = opts.Style.normalized(); err != nil {
		return nil, fmt.Errorf("qrcode: %w", err)
	}
	if opts.Blameless == nil {
		opts.Blameless = func(error) bool { return false }
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 4300 * time.Millisecond
	}
	if opts.RedisTimeout <= 0 {
		opts.RedisTimeout = DefaultRedisTimeout
	}
	if opts.FailureMemory == 0 {
		opts.FailureMemory = 3 * time.Second
	}
	if opts.KnownFor <= 0 {
		opts.KnownFor = 10 * time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Service{
		opts: opts,
		generations: promauto.With(opts.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_qrcode_generations_total",
			Help: "Attempts to make a new QR code, by result (ok, failed, bad_image, store_failed, quota, user_cap).",
		}, []string{"result"}),
		redisErrors: promauto.With(opts.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_qrcode_redis_errors_total",
			Help: "Failed calls to Redis that a QR code was made without, by call (lock, limit, failure).",
		}, []string{"call"}),
	}
	if opts.Redis != nil {
		s.locks = redislock.New(opts.Redis)
	}
	if s.known, err = lru.New[string, time.Time](knownNames); err != nil {
		return nil, fmt.Errorf("qrcode: %w", err)
	}
	if s.failed, err = lru.New[string, failure](failedNames); err != nil {
		return nil, fmt.Errorf("qrcode: %w", err)
	}
	return s, nil
}

// URLName returns the name in the bucket, qrcode/<hash>.jpg or .png, of the
// code that opens page with scene, after having it made where it does not exist
// yet. A user's cap is charged for new codes only.
//
// Its error is a *FieldError, a *LimitError (ErrQuota, ErrUserCap), ErrStore,
// ErrBadImage, ErrJustFailed, ctx's own, context.DeadlineExceeded when Options.Timeout has
// passed, or whatever the Maker returned, wrapped.
func (s *Service) URLName(ctx context.Context, userID int64, page, scene string) (string, error) {
	if err := CheckPage(page); err != nil {
		return "", err
	}
	if err := CheckScene(scene); err != nil {
		return "", err
	}
	params := Params{Page: page, Scene: scene, Style: s.opts.Style}
	name := objectName(s.opts.AppID, params)
	if s.isKnown(name) {
		return name, nil
	}
	for {
		err := s.join(ctx, userID, name, params)
		if err == nil {
			return name, nil
		}
		var limit *LimitError
		if errors.As(err, &limit) && limit.Limit == ErrUserCap && limit.userID != userID {
			// The flight was led by someone else, at their expense, and ended
			// by their cap. That says nothing about this user.
			continue
		}
		return "", fmt.Errorf("qr code: %w", err)
	}
}

// join waits for the flight of name, which it starts where there is none.
func (s *Service) join(ctx context.Context, userID int64, name string, params Params) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := s.flights.DoChan(name, func() (_ any, err error) {
		// singleflight would end the process on a panic.
		defer func() {
			if r := recover(); r != nil {
				// The value may hold anything, a secret too; the stack cannot.
				s.opts.Logger.ErrorContext(ctx, "panic while making a qr code", "stack", string(debug.Stack()))
				err = fmt.Errorf("panic while making: %T", r)
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout)
		defer cancel()
		return nil, s.ensure(ctx, userID, name, params)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ensure returns nil when the picture is in the bucket.
func (s *Service) ensure(ctx context.Context, userID int64, name string, params Params) error {
	if found, err := s.find(ctx, name); found || err != nil {
		return err
	}
	if err := s.recentFailure(name); err != nil {
		return err
	}
	lock, found, err := s.lock(ctx, name)
	if found || err != nil {
		return err
	}
	if lock == nil {
		// Redis is away: what it would say about limits and failures is not
		// waited for again.
		return s.generate(ctx, name, params)
	}
	defer s.hold(ctx, lock)()
	// While this replica was on its way, another one may have made it, or have
	// failed to.
	if found, err := s.find(ctx, name); found || err != nil {
		return err
	}
	if s.othersFailed(ctx, name) {
		return ErrJustFailed
	}
	refund, err := s.charge(ctx, userID)
	if err != nil {
		return err
	}
	err = s.generate(ctx, name, params)
	if err != nil && s.blameless(err) {
		refund()
		s.tellOthers(ctx, name)
	}
	return err
}

// generate makes the picture and puts it into the bucket.
func (s *Service) generate(ctx context.Context, name string, params Params) error {
	result, err := s.makeAndPut(ctx, name, params)
	s.generations.WithLabelValues(result).Inc()
	if err != nil {
		if s.opts.FailureMemory > 0 {
			s.failed.Add(name, failure{err, s.opts.Now().Add(s.opts.FailureMemory)})
		}
		return err
	}
	s.setKnown(name)
	return nil
}

func (s *Service) makeAndPut(ctx context.Context, name string, params Params) (result string, err error) {
	data, _, err := s.opts.Maker.UnlimitedCode(ctx, params)
	if err != nil {
		return "failed", fmt.Errorf("make: %w", err)
	}
	// What it is, is told by the picture, not by its sender.
	contentType, err := checkImage(data)
	if err != nil {
		return "bad_image", err
	}
	if err := s.opts.Store.Put(ctx, name, contentType, data); err != nil {
		return "store_failed", storeError(ctx, "put", err)
	}
	return "ok", nil
}

func (s *Service) blameless(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrBadImage) || errors.Is(err, ErrStore) ||
		s.opts.Blameless(err)
}

// charge takes a place under the user's cap and under the quota, in this order,
// so that a capped user does not burn the quota of all. refund gives the user's
// place back. If Redis fails, everyone passes.
func (s *Service) charge(ctx context.Context, userID int64) (refund func(), err error) {
	refund = func() {}
	wait, undo, err := s.take(ctx, s.key("user", strconv.FormatInt(userID, 10)),
		quota.Window{Length: time.Hour, Max: s.opts.NewPerUserPerHour}, quota.Window{Length: 24 * time.Hour, Max: s.opts.NewPerUserPerDay})
	if err != nil {
		s.redisFailed(ctx, "limit", err)
		return refund, nil // the second call would only wait for the same timeout
	}
	if wait > 0 {
		s.generations.WithLabelValues("user_cap").Inc()
		return nil, &LimitError{Limit: ErrUserCap, RetryAfter: wait, userID: userID}
	}
	refund = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.RedisTimeout)
		defer cancel()
		if err := undo(ctx); err != nil {
			s.redisFailed(ctx, "limit", err)
		}
	}
	wait, _, err = s.take(ctx, s.key("quota", "minute"), quota.Window{Length: time.Minute, Max: s.opts.QuotaPerMinute})
	if err != nil {
		s.redisFailed(ctx, "limit", err)
		return refund, nil
	}
	if wait > 0 {
		refund()
		s.generations.WithLabelValues("quota").Inc()
		return nil, &LimitError{Limit: ErrQuota, RetryAfter: wait}
	}
	return refund, nil
}

func (s *Service) take(ctx context.Context, key string, windows ...quota.Window) (time.Duration, func(context.Context) error, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.RedisTimeout)
	defer cancel()
	return quota.Take(ctx, s.opts.Redis, key, windows...)
}

// lock waits until this replica may make the picture, and returns the lock, or
// nil where there is no Redis to hold one; or until the picture is found.
func (s *Service) lock(ctx context.Context, name string) (lock *redislock.Lock, found bool, err error) {
	if s.opts.Redis == nil {
		return nil, false, nil
	}
	// With one token for all attempts, one that Redis took and answered too
	// late does not stand in the way of the next.
	token := crand.Text()
	var failing time.Time // since when Redis is
	for {
		lock, err := s.obtain(ctx, s.key("lock", name), token)
		switch {
		case err == nil:
			return lock, false, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case errors.Is(err, redislock.ErrNotObtained):
			failing = time.Time{}
		case failing.IsZero():
			// One slow answer is no reason to make a code twice.
			failing = time.Now()
		case time.Since(failing) > 2*s.opts.RedisTimeout:
			s.redisFailed(ctx, "lock", err)
			return nil, false, nil
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(pollMin + rand.N(pollMax-pollMin)):
		}
		if found, err := s.find(ctx, name); found || err != nil {
			return nil, found, err
		}
	}
}

func (s *Service) obtain(ctx context.Context, key, token string) (*redislock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.RedisTimeout)
	defer cancel()
	return s.locks.Obtain(ctx, key, lockLife, &redislock.Options{Token: token})
}

// hold extends the lock until the returned function releases it.
func (s *Service) hold(ctx context.Context, lock *redislock.Lock) (release func()) {
	held, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(lockRefresh)
		defer ticker.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-ticker.C:
				ctx, cancel := context.WithTimeout(held, s.opts.RedisTimeout)
				err := lock.Refresh(ctx, lockLife, nil)
				cancel()
				if err != nil && held.Err() == nil {
					s.redisFailed(held, "lock", err)
				}
			}
		}
	}()
	return func() {
		stop()
		<-stopped
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.RedisTimeout)
		defer cancel()
		if err := lock.Release(ctx); err != nil {
			s.redisFailed(ctx, "lock", err)
		}
	}
}

// redisFailed says that the work went on without Redis.
func (s *Service) redisFailed(ctx context.Context, call string, err error) {
	s.redisErrors.WithLabelValues(call).Inc()
	s.opts.Logger.WarnContext(ctx, "qr code goes on without redis", "call", call, "error", err)
}

// find looks for the picture in the bucket, and remembers it.
func (s *Service) find(ctx context.Context, name string) (bool, error) {
	found, err := s.opts.Store.Exists(ctx, name)
	if err != nil {
		return false, storeError(ctx, "look", err)
	}
	if found {
		s.setKnown(name)
	}
	return found, nil
}

func storeError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	return fmt.Errorf("%s: %w: %v", op, ErrStore, err)
}

func (s *Service) isKnown(name string) bool {
	until, ok := s.known.Get(name)
	return ok && s.opts.Now().Before(until)
}

func (s *Service) setKnown(name string) {
	s.known.Add(name, s.opts.Now().Add(s.opts.KnownFor))
}

// recentFailure returns the error of a generation that failed in this process
// not long ago.
func (s *Service) recentFailure(name string) error {
	if f, ok := s.failed.Get(name); ok && s.opts.Now().Before(f.until) {
		return f.err
	}
	return nil
}

// tellOthers lets the other replicas know of a blameless failure, though not of
// which: a refusal such as WeChat not knowing the page they are to hear from
// WeChat, in its own words.
func (s *Service) tellOthers(ctx context.Context, name string) {
	if s.opts.FailureMemory <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.RedisTimeout)
	defer cancel()
	if err := s.opts.Redis.Set(ctx, s.key("failed", name), 1, s.opts.FailureMemory).Err(); err != nil {
		s.redisFailed(ctx, "failure", err)
	}
}

// othersFailed reports whether some replica has told of a failure not long ago.
func (s *Service) othersFailed(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, s.opts.RedisTimeout)
	defer cancel()
	n, err := s.opts.Redis.Exists(ctx, s.key("failed", name)).Result()
	if err != nil {
		s.redisFailed(ctx, "failure", err)
	}
	return n > 0
}

// key is a key in Redis. Installations for several apps may share one.
func (s *Service) key(kind, of string) string {
	return "shares:qrcode:" + s.opts.AppID + ":" + kind + ":" + of
}
