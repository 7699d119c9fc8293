// Package qrcode makes WeChat's mini program codes, each distinct one once, and keeps them in a
// bucket that all replicas share.
//
// A code's name in the bucket is a hash of everything that its picture depends on, so a code that
// is there is never made again. Requests of one process for the same code share one flight, and
// replicas take turns by a lock in Redis. Without Redis there is neither a lock nor a limit: each
// replica may make the code once, and the first picture in the bucket stays.
//
// A lifecycle rule may delete objects under qrcode/: a code is made again when it is requested
// after knownFor. A flight continues when its callers leave, because the quota is spent by then.
package qrcode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/bsm/redislock"
	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"shares/internal/quota"
	"shares/rpc/internal/wechat"
)

// Maker makes one code; *wechat.Client is one.
type Maker interface {
	UnlimitedCode(ctx context.Context, p wechat.CodeParams) (wechat.Image, error)
}

// Store keeps pictures; *pictures.Store is one.
type Store interface {
	Exists(ctx context.Context, name string) (bool, error)
	Put(ctx context.Context, name string, data []byte) error
}

// Options of New; all but Metrics are required.
type Options struct {
	Maker Maker
	Store Store
	Redis redis.UniversalClient // the lock and the limits
	AppID string
	Style wechat.CodeParams // of all codes: what is neither page nor scene

	PerMinute  int           // codes that all replicas may make in a minute; 0: no limit
	PerUserDay int           // codes that one user may have made in 24 hours; 0: no limit
	Timeout    time.Duration // of making a code, the wait for other replicas included
	Log        *slog.Logger
	Metrics    prometheus.Registerer
}

const (
	knownNames = 100_000 // about 25 MB when full
	knownFor   = 10 * time.Minute

	failedNames = 10_000
	failedFor   = 3 * time.Second // a failure is answered from memory

	lockPoll = 50 * time.Millisecond
)

// Service returns the names of codes, and has missing ones made. It is safe for concurrent use.
type Service struct {
	opts    Options
	locks   *redislock.Client
	perUser *quota.Limit
	all     *quota.Limit
	known   *otter.Cache[string, struct{}]
	failed  *otter.Cache[string, error]

	generations *prometheus.CounterVec
	lockErrors  prometheus.Counter
}

// userCapError says that the user has had as many codes made as one user may.
type userCapError struct {
	userID int64
	full   *quota.Error
}

func (e *userCapError) Error() string { return "user's cap of new qr codes reached" }
func (e *userCapError) Unwrap() error { return e.full }

// New returns a Service.
func New(opts Options) (*Service, error) {
	s := &Service{
		opts:  opts,
		locks: redislock.New(opts.Redis),
		generations: promauto.With(opts.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_qrcode_generations_total",
			Help: "Attempts to make a new QR code, by result (ok, failed, store_failed, quota, user_cap).",
		}, []string{"result"}),
		lockErrors: promauto.With(opts.Metrics).NewCounter(prometheus.CounterOpts{
			Name: "shares_qrcode_redis_errors_total",
			Help: "QR codes made without a lock and limits, because Redis failed.",
		}),
	}
	s.perUser = &quota.Limit{
		Redis: opts.Redis, Prefix: s.key("user", ""), Window: 24 * time.Hour, Max: opts.PerUserDay, Log: opts.Log,
	}
	s.all = &quota.Limit{
		Redis: opts.Redis, Prefix: s.key("quota", ""), Window: time.Minute, Max: opts.PerMinute, Log: opts.Log,
	}
	var err error
	s.known, err = otter.New(&otter.Options[string, struct{}]{
		MaximumSize: knownNames, ExpiryCalculator: otter.ExpiryWriting[string, struct{}](knownFor),
	})
	if err != nil {
		return nil, fmt.Errorf("qrcode: %w", err)
	}
	s.failed, err = otter.New(&otter.Options[string, error]{
		MaximumSize: failedNames, ExpiryCalculator: otter.ExpiryWriting[string, error](failedFor),
	})
	if err != nil {
		return nil, fmt.Errorf("qrcode: %w", err)
	}
	return s, nil
}

// Name returns the name in the bucket, qrcode/<hash>.jpg or .png, of the code that opens page with
// scene. A code that is missing is made, at the expense of the user's quota. Its error is one of
// package reason, a *quota.Error, ctx's own, or wraps the error of Maker or Store.
func (s *Service) Name(ctx context.Context, userID int64, page, scene string) (string, error) {
	if err := check(page, scene); err != nil {
		return "", err
	}
	params := s.opts.Style
	params.Page, params.Scene = page, scene
	name := objectName(s.opts.AppID, params)
	load := otter.LoaderFunc[string, struct{}](func(ctx context.Context, name string) (struct{}, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout)
		defer cancel()
		return struct{}{}, s.ensure(ctx, userID, name, params)
	})
	for {
		_, err := s.known.Get(ctx, name, load)
		if err == nil {
			return name, nil
		}
		if full, ok := errors.AsType[*userCapError](err); ok && full.userID != userID {
			continue // the flight was another user's, and so is the cap that ended it
		}
		return "", fmt.Errorf("qr code: %w", err)
	}
}

// ensure returns nil when the picture is in the bucket.
func (s *Service) ensure(ctx context.Context, userID int64, name string, params wechat.CodeParams) error {
	if found, err := s.opts.Store.Exists(ctx, name); found || err != nil {
		return err
	}
	if err, ok := s.failed.GetIfPresent(name); ok {
		return err
	}
	lock, found, err := s.lock(ctx, name)
	if found || err != nil {
		return err
	}
	if lock == nil { // without Redis, the limits would only wait for the same timeout
		return s.generate(ctx, name, params)
	}
	defer func() { _ = lock.Release(context.WithoutCancel(ctx)) }() // else it expires
	if found, err := s.opts.Store.Exists(ctx, name); found || err != nil {
		return err
	}
	giveBack, err := s.charge(ctx, userID)
	if err != nil {
		return err
	}
	err = s.generate(ctx, name, params)
	// Only a parameter that WeChat refuses is the user's doing.
	if err != nil && wechat.KindOf(err) != wechat.InvalidArgument {
		giveBack()
	}
	return err
}

// generate makes the picture and puts it into the bucket.
func (s *Service) generate(ctx context.Context, name string, params wechat.CodeParams) error {
	result := "failed"
	image, err := s.opts.Maker.UnlimitedCode(ctx, params)
	if err == nil {
		result = "store_failed"
		err = s.opts.Store.Put(ctx, name, image.Data)
	}
	if err != nil {
		s.failed.Set(name, err)
	} else {
		result = "ok"
	}
	s.generations.WithLabelValues(result).Inc()
	return err
}

// charge counts the code, first for the user, so that a user at the cap does not use up the quota
// of all.
func (s *Service) charge(ctx context.Context, userID int64) (giveBack func(), err error) {
	giveBack, err = s.perUser.Take(ctx, strconv.FormatInt(userID, 10))
	if full, ok := errors.AsType[*quota.Error](err); ok {
		s.generations.WithLabelValues("user_cap").Inc()
		return nil, &userCapError{userID, full}
	}
	if _, err := s.all.Take(ctx, "minute"); err != nil {
		giveBack()
		s.generations.WithLabelValues("quota").Inc()
		return nil, err
	}
	return giveBack, nil
}

// lock waits until this replica may make the picture, or until the picture is found. The lock is
// nil where Redis fails.
func (s *Service) lock(ctx context.Context, name string) (lock *redislock.Lock, found bool, err error) {
	for {
		lock, err := s.locks.Obtain(ctx, s.key("lock", name), s.opts.Timeout, nil)
		switch {
		case err == nil:
			return lock, false, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case !errors.Is(err, redislock.ErrNotObtained):
			s.lockErrors.Inc()
			s.opts.Log.WarnContext(ctx, "qr code is made without redis", "error", err)
			return nil, false, nil
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(lockPoll):
		}
		if found, err := s.opts.Store.Exists(ctx, name); found || err != nil {
			return nil, found, err
		}
	}
}

// key returns a key in Redis. Installations for several apps may share one.
func (s *Service) key(kind, of string) string {
	return "shares:qrcode:" + s.opts.AppID + ":" + kind + ":" + of
}
