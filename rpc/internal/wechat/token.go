package wechat

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/bsm/redislock"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"
)

const (
	maxLifetimeSeconds = 7200
	maxTokenLength     = 512

	// recheck is how long a process uses its copy of the token before it reads Redis again, where
	// another replica may have stored a new one.
	recheck = time.Minute
	// A token is refreshed between minMargin and maxMargin before its end. WeChat gives a new token
	// only in the last 300 s of the old one: a larger margin would fetch the same token in a loop.
	minMargin, maxMargin = 240 * time.Second, 290 * time.Second
	minUse               = time.Minute
	// distrust is how long a rejected token is not kept again, wherever it comes from.
	distrust = 30 * time.Second
	// WeChat allows force_refresh 20 times a day, 30 s apart. All replicas together make 18.
	forceApart = 80 * time.Minute
	lockRetry  = 25 * time.Millisecond
)

// validToken reports whether s can be an access token: 1 to 512 visible ASCII characters.
func validToken(s string) bool {
	return len(s) >= 1 && len(s) <= maxTokenLength &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// dropScript deletes a key if it still holds the value, so that a newer token stays.
var dropScript = redis.NewScript(
	`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`)

// tokenSource provides the app's access token: from this process, else from Redis, else from WeChat,
// which one caller per process (singleflight) and one replica (a lock in Redis) asks at a time.
//
// The token is that of stable_token, whose normal mode returns the same token to every replica. So a
// fetch without the lock is harmless, and while Redis is down each process keeps the token in memory.
type tokenSource struct {
	redis        redis.UniversalClient // nil: none
	locker       *redislock.Client
	redisTimeout time.Duration
	timeout      time.Duration
	fetch        func(ctx context.Context, force bool) (string, time.Duration, *Error)
	logger       *slog.Logger
	fetches      *prometheus.CounterVec
	now          func() time.Time

	key, lockKey, forceKey string

	flight singleflight.Group

	mu            sync.Mutex
	held          heldToken
	rejected      string // the token that WeChat rejected last
	rejectedUntil time.Time
}

// heldToken is this process's copy.
type heldToken struct {
	value     string
	until     time.Time // Redis is read again from here on
	refreshAt time.Time // WeChat is asked again from here on
}

func newTokenSource(o Options, fetches *prometheus.CounterVec,
	fetch func(context.Context, bool) (string, time.Duration, *Error)) *tokenSource {
	key := "wx:" + o.AppID + ":stable_token"
	s := &tokenSource{
		redis: o.Redis, redisTimeout: o.RedisTimeout, timeout: o.Timeout,
		fetch: fetch, logger: o.Logger, fetches: fetches, now: o.Now,
		key: key, lockKey: key + ":lock", forceKey: key + ":force",
	}
	if o.Redis != nil {
		s.locker = redislock.New(o.Redis)
	}
	return s
}

// get returns a token other than not, which the caller has just seen rejected, unless WeChat insists
// on that one.
func (s *tokenSource) get(ctx context.Context, not string) (string, *Error) {
	// A flight that began before the rejection may return the rejected token, and one that began long
	// ago may reach its deadline as soon as it is joined. The next one does neither.
	e := &Error{Kind: Unavailable, Endpoint: tokenEndpoint, Reason: "no access token but the rejected one"}
	for range 3 {
		s.mu.Lock()
		held, fresh := s.held, s.now().Before(s.held.until)
		s.mu.Unlock()
		if fresh && held.value != not {
			return held.value, nil
		}
		flight := s.flight.DoChan("", func() (any, error) {
			// The flight serves all who wait, so it outlives the caller that started it.
			ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.timeout, errOwnTimeout)
			defer cancel()
			return s.load(ctx), nil
		})
		select {
		case <-ctx.Done():
			e := ended(ctx)
			e.Endpoint = tokenEndpoint
			return "", e
		case landed := <-flight:
			switch r := landed.Val.(loaded); {
			case r.err == nil && (r.token != not || r.insisted):
				return r.token, nil
			case r.err != nil && r.err.Kind == Deadline:
				e = r.err
			case r.err != nil:
				return "", r.err
			}
		}
	}
	return "", e
}

type loaded struct {
	token    string
	insisted bool // the rejected token, which WeChat gives all the same
	err      *Error
}

// load reads Redis, then takes the lock, reads Redis again and asks WeChat.
func (s *tokenSource) load(ctx context.Context) loaded {
	token, err := s.shared(ctx)
	if err != nil {
		token = s.prolong()
	}
	if token != "" {
		return loaded{token: token}
	}
	if err == nil {
		// Half of the time is left for a fetch without the lock, whose holder may hang.
		lockCtx, cancel := context.WithTimeout(ctx, s.timeout/2)
		lock, err := s.locker.Obtain(lockCtx, s.lockKey, s.timeout+time.Second,
			&redislock.Options{RetryStrategy: redislock.LinearBackoff(lockRetry)})
		cancel()
		if err == nil {
			defer func() { _ = s.use(context.WithoutCancel(ctx), lock.Release) }() // or it expires
		}
		if token, _ := s.shared(ctx); token != "" { // stored by the previous holder
			return loaded{token: token}
		}
	}
	return s.renew(ctx)
}

// prolong returns the copy in memory while it need not be refreshed, and "" otherwise. It is for times
// when Redis is down.
func (s *tokenSource) prolong() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !now.Before(s.held.refreshAt) {
		return ""
	}
	s.held.until = earlier(now.Add(recheck), s.held.refreshAt)
	return s.held.value
}

// renew asks WeChat for a token and keeps it, here and in Redis.
func (s *tokenSource) renew(ctx context.Context) loaded {
	s.mu.Lock()
	rejected, reason := s.rejectedNow(), "cold"
	switch {
	case rejected != "":
		reason = "rejected"
	case s.held.value != "":
		reason = "refresh"
	}
	s.mu.Unlock()
	s.fetches.WithLabelValues(reason).Inc()
	token, lifetime, e := s.fetch(ctx, false)
	if e == nil && token == rejected {
		if !s.mayForce(ctx) {
			// WeChat may be right this time. The token is tried, and not kept while it is distrusted.
			return loaded{token: token, insisted: true}
		}
		s.logger.WarnContext(ctx, "WeChat returned the rejected access token again: forcing a new one")
		s.fetches.WithLabelValues("forced").Inc()
		if token, lifetime, e = s.fetch(ctx, true); e != nil {
			s.logger.WarnContext(ctx, "force a new access token", "error", e.Error())
			return loaded{token: rejected, insisted: true}
		}
	}
	if e != nil {
		return loaded{err: e}
	}
	margin := minMargin + rand.N(maxMargin-minMargin)
	use := max(lifetime-margin, minUse)
	s.keep(token, use)
	err := s.use(ctx, func(ctx context.Context) error { return s.redis.Set(ctx, s.key, token, use).Err() })
	if err != nil && s.redis != nil {
		s.logger.WarnContext(ctx, "access token not shared with other replicas: Redis is unavailable")
	}
	return loaded{token: token}
}

// keep makes a token this process's copy, to be refreshed after use.
func (s *tokenSource) keep(token string, use time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == s.rejectedNow() {
		return // a flight that began before the rejection
	}
	now := s.now()
	refreshAt := now.Add(use)
	s.held = heldToken{value: token, until: earlier(now.Add(recheck), refreshAt), refreshAt: refreshAt}
}

// reject removes a token that WeChat does not accept from this process and from Redis, unless a newer
// one is there already.
func (s *tokenSource) reject(ctx context.Context, token string) {
	s.mu.Lock()
	known := s.held.value != token && (s.held.value != "" || s.rejectedNow() == token)
	if !known {
		s.held = heldToken{}
		s.rejected, s.rejectedUntil = token, s.now().Add(distrust)
	}
	s.mu.Unlock()
	if known {
		return
	}
	s.logger.WarnContext(ctx, "WeChat rejected the access token")
	s.drop(context.WithoutCancel(ctx), token)
}

// rejectedNow returns the token that is distrusted now, or "". The caller holds mu.
func (s *tokenSource) rejectedNow() string {
	if s.now().Before(s.rejectedUntil) {
		return s.rejected
	}
	return ""
}

// shared returns the token in Redis and keeps it. It returns "" when there is none but a rejected one,
// and an error when Redis is unavailable.
func (s *tokenSource) shared(ctx context.Context) (string, error) {
	var value *redis.StringCmd
	var ttl *redis.DurationCmd
	err := s.use(ctx, func(ctx context.Context) error {
		pipe := s.redis.Pipeline()
		value, ttl = pipe.Get(ctx, s.key), pipe.PTTL(ctx, s.key)
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", err
	}
	token, left := value.Val(), ttl.Val()
	if left <= 0 || !validToken(token) {
		return "", nil
	}
	s.mu.Lock()
	rejected := token == s.rejectedNow()
	s.mu.Unlock()
	if rejected {
		s.drop(ctx, token) // Redis was down when the token was rejected
		return "", nil
	}
	s.keep(token, left)
	return token, nil
}

func (s *tokenSource) drop(ctx context.Context, token string) {
	err := s.use(ctx, func(ctx context.Context) error {
		return dropScript.Run(ctx, s.redis, []string{s.key}, token).Err()
	})
	if err != nil && s.redis != nil {
		s.logger.WarnContext(ctx, "rejected access token not dropped: Redis is unavailable")
	}
}

// mayForce reserves one force_refresh among all replicas. Without Redis none is made.
func (s *tokenSource) mayForce(ctx context.Context) bool {
	reserved := false
	err := s.use(ctx, func(ctx context.Context) (err error) {
		reserved, err = s.redis.SetNX(ctx, s.forceKey, 1, forceApart).Result()
		return err
	})
	return err == nil && reserved
}

var errNoRedis = errors.New("no Redis")

// use bounds one use of Redis.
func (s *tokenSource) use(ctx context.Context, do func(context.Context) error) error {
	if s.redis == nil {
		return errNoRedis
	}
	ctx, cancel := context.WithTimeout(ctx, s.redisTimeout)
	defer cancel()
	return do(ctx)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
