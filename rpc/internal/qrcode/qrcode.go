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
	"cmp"
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

	"shares/internal/config"
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
	Config  config.Config // the AppID, the style of codes, the limits and the timeout of a call
	Maker   Maker
	Store   Store
	Redis   redis.UniversalClient // the lock and the limits
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

const (
	knownNames = 100_000 // about 25 MB when full
	knownFor   = 10 * time.Minute
	failedFor  = 3 * time.Second // how long a failure is cached
)

// Service returns the names of codes and makes missing ones. It is safe for concurrent use.
type Service struct {
	opts    Options
	style   wechat.CodeParams // of all codes, without Page and Scene
	timeout time.Duration     // for making a code, including the wait for other replicas
	perUser *quota.Limit
	all     *quota.Limit
	known   *otter.Cache[string, error] // by name: nil, or the error of making the code

	generations *prometheus.CounterVec
}

// userLimit is the error for a user at the limit of new codes.
type userLimit struct{ error }

func (e userLimit) Unwrap() error { return e.error }

// New returns a Service. It fails if the configuration is wrong.
func New(opts Options) (*Service, error) {
	c := opts.Config
	color, err := c.LineColor()
	if err != nil {
		return nil, err
	}
	s := &Service{
		opts: opts,
		style: wechat.CodeParams{
			EnvVersion: c.QRCodeEnvVersion, Width: c.QRCodeWidth, CheckPath: c.QRCodeCheckPath,
			IsHyaline: c.QRCodeHyaline, AutoColor: c.QRCodeAutoColor, LineColor: color,
		},
		timeout: c.RPCTimeout - 200*time.Millisecond,
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
	}
	s.perUser = &quota.Limit{
		Redis: opts.Redis, Prefix: s.key("user", ""), Window: 24 * time.Hour, Max: c.QRCodePerUserDay, Log: opts.Log,
	}
	s.all = &quota.Limit{
		Redis: opts.Redis, Prefix: s.key("quota", ""), Window: time.Minute, Max: c.QRCodePerMinute, Log: opts.Log,
	}
	return s, nil
}

// Name returns the name in the bucket, qrcode/<hash>.jpg or .png, of the code that opens page with
// scene. It makes a missing code and charges the user's quota. Its error has a reason, is ctx's
// own, or wraps the error of Maker or Store.
func (s *Service) Name(ctx context.Context, userID int64, page, scene string) (string, error) {
	if err := check(page, scene); err != nil {
		return "", err
	}
	params := s.style
	params.Page, params.Scene = page, scene
	name := objectName(s.opts.Config.WechatAppID, params)
	mine := false // this call made the flight
	load := otter.LoaderFunc[string, error](func(ctx context.Context, name string) (failed, err error) {
		mine = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		err = single.Do(ctx, s.opts.Redis, s.key("lock", name), s.timeout,
			func() (bool, error) { return s.opts.Store.Exists(ctx, name) },
			func() (err error) {
				failed, err = s.make(ctx, userID, name, params)
				return err
			})
		return failed, err
	})
	for {
		failed, err := s.known.Get(ctx, name, load)
		if _, ok := errors.AsType[userLimit](err); ok && !mine {
			continue // another user's limit ended that user's flight
		}
		if err = cmp.Or(err, failed); err != nil {
			return "", fmt.Errorf("qr code: %w", err)
		}
		return name, nil
	}
}

// make makes the picture and puts it into the bucket. It returns the failure to cache, or the error
// of a limit.
func (s *Service) make(
	ctx context.Context, userID int64, name string, params wechat.CodeParams,
) (failed, limit error) {
	// The user is first, so that a user at the limit does not use up the common quota.
	giveBack, limit := s.perUser.Take(ctx, strconv.FormatInt(userID, 10))
	if limit != nil {
		s.generations.WithLabelValues("user_cap").Inc()
		return nil, userLimit{limit}
	}
	if _, limit := s.all.Take(ctx, "minute"); limit != nil {
		giveBack()
		s.generations.WithLabelValues("quota").Inc()
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

func (s *Service) key(kind, of string) string {
	return s.opts.Config.RedisKey("qrcode:" + kind + ":" + of)
}
