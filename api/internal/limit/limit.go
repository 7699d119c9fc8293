// Package limit is how often somebody may ask: logins per client address,
// counted in Redis by all replicas together, and requests per user, counted in
// each process.
package limit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/breaker"
	"golang.org/x/time/rate"
)

// Metrics counts refusals.
type Metrics struct {
	refused *prometheus.CounterVec
	open    prometheus.Counter
}

// NewMetrics registers the limiters' metrics; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{
		refused: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_limit_refused_total", Help: "Requests refused by a rate limit.",
		}, []string{"limit"}),
		open: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "shares_limit_open_total", Help: "Logins let through uncounted because Redis did not answer.",
		}),
	}
}

// Logins limits logins per address over all replicas. While Redis is away it
// lets everybody in: a limit must not be a way to take the service down.
type Logins struct {
	limiter *redis_rate.Limiter
	limit   redis_rate.Limit
	breaker breaker.Breaker
	log     *slog.Logger
	metrics *Metrics
	said    atomic.Int64 // unix seconds of the last warning
}

// NewLogins returns a limit of perMinute logins per address, all of them at
// once if need be: carrier NAT puts thousands of phones behind one address.
func NewLogins(client redis.UniversalClient, perMinute int, log *slog.Logger, metrics *Metrics) *Logins {
	return &Logins{
		limiter: redis_rate.NewLimiter(client),
		limit:   redis_rate.PerMinute(perMinute),
		breaker: breaker.NewBreaker(breaker.WithName("login limit")),
		log:     log,
		metrics: metrics,
	}
}

// Allow counts one login from address. When it refuses, it says after which
// time the next one will be let in.
func (l *Logins) Allow(ctx context.Context, address string) (bool, time.Duration) {
	var result *redis_rate.Result
	err := l.breaker.DoWithAcceptable(func() (err error) {
		result, err = l.limiter.Allow(ctx, "login:"+address, l.limit)
		return err
	}, func(err error) bool { return err == nil || ctx.Err() != nil })
	if err != nil {
		l.metrics.open.Inc()
		if now := time.Now().Unix(); now-l.said.Load() >= 60 {
			l.said.Store(now)
			l.log.Warn("logins are not limited while Redis does not answer", "error", err)
		}
		return true, 0
	}
	if result.Allowed == 0 {
		l.metrics.refused.WithLabelValues("login").Inc()
		return false, result.RetryAfter
	}
	return true, 0
}

// usersTracked bounds the memory of Users, about 150 bytes each. A user who
// was pushed out starts with a full burst again.
const usersTracked = 100_000

// Users limits requests per user in this process: n replicas admit n times as
// many, which is fine for a limit that only stops a loop gone wild.
type Users struct {
	users   *otter.Cache[int64, *rate.Limiter]
	limit   rate.Limit
	burst   int
	refused prometheus.Counter
}

// NewUsers returns a limit of perSecond requests a user, burst at once.
func NewUsers(perSecond, burst int, metrics *Metrics) (*Users, error) {
	users, err := otter.New(&otter.Options[int64, *rate.Limiter]{MaximumSize: usersTracked})
	if err != nil {
		return nil, err
	}
	return &Users{
		users:   users,
		limit:   rate.Limit(perSecond),
		burst:   burst,
		refused: metrics.refused.WithLabelValues("user"),
	}, nil
}

// Allow counts one request of a user.
func (u *Users) Allow(userID int64) bool {
	limiter, ok := u.users.GetIfPresent(userID)
	if !ok {
		limiter, _ = u.users.SetIfAbsent(userID, rate.NewLimiter(u.limit, u.burst))
	}
	if limiter.Allow() {
		return true
	}
	u.refused.Inc()
	return false
}

// OffLogins and OffUsers are what SHARES_RATE_LIMIT=off puts in their place.
type (
	OffLogins struct{}
	OffUsers  struct{}
)

// Allow always lets in.
func (OffLogins) Allow(context.Context, string) (bool, time.Duration) { return true, 0 }

// Allow always lets in.
func (OffUsers) Allow(int64) bool { return true }
