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

	// recheck is how long a process uses its copy of the token before it looks into Redis again, where another replica may have put a
	// new one.
	recheck = time.Minute
	// A token is refreshed between minMargin and maxMargin before its end. WeChat gives a new token only in the last 300 s of the old
	// one, and both work until the old one's end: a larger margin would fetch the same token over and over.
	minMargin, maxMargin = 240 * time.Second, 290 * time.Second
	minUse               = time.Minute
	// grace is how long after its refresh time a token surely works still: it is needed when WeChat cannot give a new one.
	grace      = minMargin - 40*time.Second
	graceRetry = 10 * time.Second
	// distrust is how long a rejected token is not kept again, whoever offers it.
	distrust = 30 * time.Second
	// WeChat takes force_refresh 20 times a day, 30 s apart. Its day is Beijing's.
	forceApart  = 31 * time.Second
	forcePerDay = 19
	pollEvery   = 25 * time.Millisecond
)

// validToken tells whether s can be an access token: 1 to 512 visible ASCII characters.
func validToken(s string) bool {
	return len(s) >= 1 && len(s) <= maxTokenLength && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// dropScript deletes a key if it still holds the value: a token that another replica has renewed meanwhile stays.
var dropScript = redis.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`)

// tokenSource hands out the app's access token. It looks into this process, then into Redis, and then asks WeChat: one caller of this
// process at a time (singleflight), and one replica at a time (a lock in Redis).
//
// The token is stable_token's, whose normal mode answers the same token to everyone: where the lock cannot work, because Redis is away
// or its holder hangs, a second fetch does no harm. While Redis is away each process keeps the token in its memory.
type tokenSource struct {
	redis        redis.UniversalClient // nil: none
	locker       *redislock.Client
	redisTimeout time.Duration
	timeout      time.Duration
	fetch        func(ctx context.Context, force bool) (string, time.Duration, *Error)
	logger       *slog.Logger
	fetches      *prometheus.CounterVec
	now          func() time.Time
	margin       func() time.Duration

	key, lockKey, forceKey, forceDayKey string

	flight singleflight.Group

	mu            sync.Mutex
	held          heldToken
	rejected      string // the token that WeChat rejected last
	rejectedUntil time.Time
}

// heldToken is this process's copy.
type heldToken struct {
	value     string
	until     time.Time // to be looked up again from here on
	refreshAt time.Time // to be fetched again from here on
}

func newTokenSource(o Options, fetches *prometheus.CounterVec, fetch func(context.Context, bool) (string, time.Duration, *Error)) *tokenSource {
	s := &tokenSource{
		redis:        o.Redis,
		redisTimeout: o.RedisTimeout,
		timeout:      o.Timeout,
		fetch:        fetch,
		logger:       o.Logger,
		fetches:      fetches,
		now:          o.Now,
		margin:       func() time.Duration { return minMargin + rand.N(maxMargin-minMargin) },
		key:          "wx:" + o.AppID + ":stable_token",
		lockKey:      "wx:" + o.AppID + ":stable_token:lock",
		forceKey:     "wx:" + o.AppID + ":stable_token:force",
		forceDayKey:  "wx:" + o.AppID + ":stable_token:force:",
	}
	if o.Redis != nil {
		s.locker = redislock.New(o.Redis)
	}
	return s
}

// get returns a token other than not, the one that the caller has just seen rejected, unless WeChat insists on that one.
func (s *tokenSource) get(ctx context.Context, not string) (string, *Error) {
	// A flight that began before the rejection may still land with the rejected token, and one that began long ago may run out of its
	// own time as soon as it is joined. The next one does not.
	e := &Error{Kind: Unavailable, Endpoint: tokenEndpoint, Reason: "no access token but the rejected one"}
	for range 3 {
		if token, ok := s.local(); ok && token != not {
			return token, nil
		}
		flight := s.flight.DoChan("", func() (any, error) {
			// The flight serves everyone who waits, and must not end with the caller who happened to start it.
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

// local returns this process's copy while it may be used without a look into Redis.
func (s *tokenSource) local() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held.value, s.held.value != "" && s.now().Before(s.held.until)
}

type loaded struct {
	token    string
	insisted bool // the rejected token, which WeChat gives all the same
	err      *Error
}

// load is the flight: Redis, lock, Redis again, WeChat.
func (s *tokenSource) load(ctx context.Context) loaded {
	if s.redis == nil {
		return s.alone(ctx)
	}
	giveUp := s.now().Add(s.timeout / 2) // leaves time for a fetch without the lock
	for {
		token, err := s.shared(ctx)
		if token != "" {
			return loaded{token: token}
		}
		if err != nil {
			return s.alone(ctx)
		}
		lock, err := s.lock(ctx)
		switch {
		case err == nil:
			defer s.unlock(ctx, lock)
			// Who held the lock before may have stored a token since the look above.
			if token, _ := s.shared(ctx); token != "" {
				return loaded{token: token}
			}
			return s.renew(ctx, true)
		case !errors.Is(err, redislock.ErrNotObtained):
			return s.alone(ctx)
		case !s.now().Before(giveUp):
			return s.renew(ctx, true)
		case !pause(ctx, pollEvery):
			e := ended(ctx)
			e.Endpoint = tokenEndpoint
			return loaded{err: e}
		}
	}
}

// alone does without Redis: the copy in memory to its refresh time, then WeChat.
func (s *tokenSource) alone(ctx context.Context) loaded {
	s.mu.Lock()
	now := s.now()
	if s.held.value != "" && now.Before(s.held.refreshAt) {
		s.held.until = earlier(now.Add(recheck), s.held.refreshAt)
		token := s.held.value
		s.mu.Unlock()
		return loaded{token: token}
	}
	s.mu.Unlock()
	return s.renew(ctx, false)
}

// renew asks WeChat for a token and keeps it, in Redis too if store says so.
func (s *tokenSource) renew(ctx context.Context, store bool) loaded {
	s.mu.Lock()
	old, rejected, reason := s.held, s.rejectedNow(), "cold"
	s.mu.Unlock()
	switch {
	case rejected != "":
		reason = "rejected"
	case old.value != "":
		reason = "refresh"
	}
	inGrace := old.value != "" && s.now().Before(old.refreshAt.Add(grace))

	fetchCtx := ctx
	if inGrace {
		// The old token still works: WeChat's trouble in giving a new one must not use up the callers' time.
		var cancel context.CancelFunc
		fetchCtx, cancel = context.WithTimeoutCause(ctx, s.timeout/3, errOwnTimeout)
		defer cancel()
	}
	s.fetches.WithLabelValues(reason).Inc()
	token, lifetime, e := s.fetch(fetchCtx, false)
	if e == nil && token == rejected {
		if token, lifetime = s.force(ctx, rejected); token == rejected {
			// WeChat may be right this time. The token is tried, and not kept while it is distrusted.
			return loaded{token: token, insisted: true}
		}
	}
	if e != nil {
		if inGrace && (e.Kind == Unavailable || e.Kind == Deadline || e.Kind == BadAnswer) && s.prolong(old.value) {
			s.logger.WarnContext(ctx, "no new access token from WeChat; the old one serves on", "error", e.Error())
			return loaded{token: old.value}
		}
		return loaded{err: e}
	}
	use := max(lifetime-s.margin(), minUse)
	s.keep(token, use)
	if store {
		if err := s.use(ctx, func(ctx context.Context) error { return s.redis.Set(ctx, s.key, token, use).Err() }); err != nil {
			s.logger.WarnContext(ctx, "access token not shared with the other replicas: Redis is away")
		}
	}
	return loaded{token: token}
}

// force has WeChat make a new token, when that is allowed now. Else it returns the rejected one.
func (s *tokenSource) force(ctx context.Context, rejected string) (string, time.Duration) {
	if !s.mayForce(ctx) {
		return rejected, 0
	}
	s.logger.WarnContext(ctx, "WeChat gave the access token again that it had rejected: forcing a new one")
	s.fetches.WithLabelValues("forced").Inc()
	token, lifetime, e := s.fetch(ctx, true)
	if e != nil {
		s.logger.WarnContext(ctx, "no forced access token", "error", e.Error())
		return rejected, 0
	}
	return token, lifetime
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

// prolong lets this process use a token past its refresh time for a moment, unless it has been rejected meanwhile.
func (s *tokenSource) prolong(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.value != token {
		return false
	}
	s.held.until = s.now().Add(graceRetry)
	return true
}

// reject tells the source that WeChat does not take the token: it leaves this process and Redis, unless a newer one is there already.
func (s *tokenSource) reject(ctx context.Context, token string) {
	s.mu.Lock()
	known := s.held.value != token && (s.held.value != "" || s.rejectedNow() == token)
	if !known {
		s.held = heldToken{}
		s.rejected, s.rejectedUntil = token, s.now().Add(distrust)
	}
	s.mu.Unlock()
	if known {
		return // a late echo of a rejection that is dealt with
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

// shared looks into Redis. It returns "" when there is no token, or none but the rejected one, and an error when Redis cannot tell.
func (s *tokenSource) shared(ctx context.Context) (string, error) {
	var token string
	var left time.Duration
	err := s.use(ctx, func(ctx context.Context) error {
		pipe := s.redis.Pipeline()
		value, ttl := pipe.Get(ctx, s.key), pipe.PTTL(ctx, s.key)
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		token, left = value.Val(), ttl.Val()
		return nil
	})
	if err != nil || left <= 0 || !validToken(token) {
		return "", err
	}
	s.mu.Lock()
	rejected := token == s.rejectedNow()
	s.mu.Unlock()
	if rejected {
		s.drop(ctx, token) // Redis was away when the token was rejected
		return "", nil
	}
	s.keep(token, left)
	return token, nil
}

func (s *tokenSource) drop(ctx context.Context, token string) {
	if s.redis == nil {
		return
	}
	err := s.use(ctx, func(ctx context.Context) error { return dropScript.Run(ctx, s.redis, []string{s.key}, token).Err() })
	if err != nil {
		s.logger.WarnContext(ctx, "rejected access token not dropped from Redis, which is away")
	}
}

func (s *tokenSource) lock(ctx context.Context) (lock *redislock.Lock, err error) {
	err = s.use(ctx, func(ctx context.Context) error {
		lock, err = s.locker.Obtain(ctx, s.lockKey, s.timeout+time.Second, nil)
		return err
	})
	return lock, err
}

func (s *tokenSource) unlock(ctx context.Context, lock *redislock.Lock) {
	// An error is no one's concern: the lock ends by itself.
	_ = s.use(context.WithoutCancel(ctx), lock.Release)
}

// mayForce takes one of the day's few force_refresh, which all replicas share. Without Redis no one can know whether there is one left.
func (s *tokenSource) mayForce(ctx context.Context) bool {
	if s.redis == nil {
		return false
	}
	err := s.use(ctx, func(ctx context.Context) error {
		first, err := s.redis.SetNX(ctx, s.forceKey, 1, forceApart).Result()
		if err == nil && !first {
			err = errNotNow
		}
		if err != nil {
			return err
		}
		day := s.forceDayKey + s.now().In(beijing).Format(time.DateOnly)
		n, err := s.redis.Incr(ctx, day).Result()
		if err != nil {
			return err
		}
		if err := s.redis.Expire(ctx, day, 25*time.Hour).Err(); err != nil {
			return err
		}
		if n > forcePerDay {
			return errNotNow
		}
		return nil
	})
	return err == nil
}

var (
	errNotNow = errors.New("wechat: no force_refresh left")
	beijing   = time.FixedZone("UTC+8", 8*60*60)
)

// use bounds one use of Redis.
func (s *tokenSource) use(ctx context.Context, do func(context.Context) error) error {
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
