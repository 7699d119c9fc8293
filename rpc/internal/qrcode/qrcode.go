// Package qrcode makes WeChat's mini program codes, each distinct one once, and keeps them in a
// bucket that all replicas share.
//
// A code's name in the bucket is a hash of everything that its picture depends on, so an existing
// code is never made again. Requests of one process for the same code share one flight, and
// replicas take turns by a lock in Redis. Without Redis there is neither a lock nor a limit: each
// replica may make the code once, and the first picture in the bucket stays.
//
// A lifecycle rule may delete objects under qrcode/: the first request after knownFor makes the
// code again. A flight continues after its callers' contexts end, because the quota is already
// spent.
package qrcode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"shares/internal/quota"
	"shares/internal/reason"
	"shares/rpc/internal/single"
	"shares/rpc/internal/wechat"
)

// Maker makes one code; *wechat.Client is one.
type Maker interface {
	UnlimitedCode(ctx context.Context, p wechat.CodeParams) ([]byte, error)
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
	Style wechat.CodeParams // of all codes; Page and Scene are not used

	PerMinute  int           // new codes of all replicas in a minute; 0: no limit
	PerUserDay int           // new codes for one user in 24 hours; 0: no limit
	Timeout    time.Duration // for making a code, including the wait for other replicas
	Log        *slog.Logger
	Metrics    prometheus.Registerer
}

const (
	knownNames = 100_000 // about 25 MB when full
	knownFor   = 10 * time.Minute
	failedFor  = 3 * time.Second // how long a failure is cached
)

// Service returns the names of codes and makes missing ones. It is safe for concurrent use.
type Service struct {
	opts    Options
	perUser *quota.Limit
	all     *quota.Limit
	known   *otter.Cache[string, error] // by name: nil, or the error of making the code

	generations *prometheus.CounterVec
	lockErrors  prometheus.Counter
}

// userCapError is the error for a user at the limit PerUserDay.
type userCapError struct {
	userID int64
	error
}

func (e *userCapError) Unwrap() error { return e.error }

// New returns a Service.
func New(opts Options) *Service {
	s := &Service{
		opts: opts,
		known: otter.Must(&otter.Options[string, error]{
			MaximumSize: knownNames,
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, error]) time.Duration {
				if e.Value != nil {
					return failedFor
				}
				return knownFor
			}),
		}),
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
	return s
}

// Name returns the name in the bucket, qrcode/<hash>.jpg or .png, of the code that opens page with
// scene. It makes a missing code and charges the user's quota. Its error has a reason, is ctx's
// own, or wraps the error of Maker or Store.
func (s *Service) Name(ctx context.Context, userID int64, page, scene string) (string, error) {
	if err := check(page, scene); err != nil {
		return "", err
	}
	params := s.opts.Style
	params.Page, params.Scene = page, scene
	name := objectName(s.opts.AppID, params)
	load := otter.LoaderFunc[string, error](func(ctx context.Context, name string) (failed, err error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout)
		defer cancel()
		err = single.Do(ctx, s.opts.Redis, s.key("lock", name), s.opts.Timeout,
			func() (bool, error) { return s.opts.Store.Exists(ctx, name) },
			func(unavailable error) (err error) {
				failed, err = s.make(ctx, userID, name, params, unavailable)
				return err
			})
		return failed, err
	})
	for {
		failed, err := s.known.Get(ctx, name, load)
		if err == nil {
			err = failed
		}
		if err == nil {
			return name, nil
		}
		if full, ok := errors.AsType[*userCapError](err); ok && full.userID != userID {
			continue // another user's cap ended that user's flight
		}
		return "", fmt.Errorf("qr code: %w", err)
	}
}

// make makes the picture and puts it into the bucket. It returns the failure to cache, or the error
// of a limit. It skips the limits if Redis is unavailable, because they would only wait for it.
func (s *Service) make(ctx context.Context, userID int64, name string, params wechat.CodeParams,
	unavailable error) (failed, limit error) {
	giveBack := func() {}
	if unavailable != nil {
		s.lockErrors.Inc()
		s.opts.Log.WarnContext(ctx, "qr code is made without redis", "error", unavailable)
	} else if giveBack, limit = s.charge(ctx, userID); limit != nil {
		return nil, limit
	}
	result := "failed"
	picture, err := s.opts.Maker.UnlimitedCode(ctx, params)
	if err == nil {
		result = "store_failed"
		err = s.opts.Store.Put(ctx, name, picture)
	}
	if err == nil {
		result = "ok"
	} else if why, _ := reason.Of(err); why != reason.InvalidField { // only users' mistakes count
		giveBack()
	}
	s.generations.WithLabelValues(result).Inc()
	return err, nil
}

// charge counts the code, first for the user, so that a user at the cap does not use up the common
// quota.
func (s *Service) charge(ctx context.Context, userID int64) (giveBack func(), err error) {
	giveBack, err = s.perUser.Take(ctx, strconv.FormatInt(userID, 10))
	if err != nil {
		s.generations.WithLabelValues("user_cap").Inc()
		return nil, &userCapError{userID, err}
	}
	if _, err := s.all.Take(ctx, "minute"); err != nil {
		giveBack()
		s.generations.WithLabelValues("quota").Inc()
		return nil, err
	}
	return giveBack, nil
}

// key returns a key in Redis. It contains the AppID, because several apps may share one Redis.
func (s *Service) key(kind, of string) string {
	return "shares:qrcode:" + s.opts.AppID + ":" + kind + ":" + of
}
