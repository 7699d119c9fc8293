package wechat

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"shares/internal/reason"
	"shares/rpc/internal/single"
)

const (
	maxLifetimeSeconds = 7200

	// recheck is how long a process uses its copy of the token before it reads Redis again. Another
	// replica may have stored a new token there.
	recheck = time.Minute
	// A token is refreshed between minMargin and maxMargin before it expires. WeChat returns a new
	// token only in the last 300 s of the old one: a larger margin would fetch the same token in a
	// loop.
	minMargin, maxMargin = 240 * time.Second, 290 * time.Second
	minUse               = time.Minute
	// WeChat allows force_refresh 20 times a day, 30 s apart. All replicas together make 18.
	forceApart = 80 * time.Minute
)

var validToken = regexp.MustCompile(`^[!-~]{1,512}$`)

// tokenSource provides the app's access token: from this process, else from Redis, else from
// WeChat. One flight per process (singleflight) and one replica (package single) calls WeChat at a
// time.
//
// The normal mode of stable_token returns the same token to every replica. So a fetch without the
// lock is harmless, and while Redis is down each process keeps the token in memory. A process or a
// Redis that still has a rejected token costs the next call one repetition.
type tokenSource struct {
	redis   redis.UniversalClient
	timeout time.Duration
	fetch   func(ctx context.Context, force bool) (string, time.Duration, *Error)
	logger  *slog.Logger
	fetches *prometheus.CounterVec
	now     func() time.Time
	key     string // in Redis; prefix of the keys of the lock and of the force_refresh guard

	flights singleflight.Group // by rejected token, so that no flight is older than the rejection

	mu   sync.Mutex
	held heldToken
}

type heldToken struct {
	value     string
	until     time.Time // when to read Redis again
	refreshAt time.Time // when to call WeChat again
}

func tokenKey(appID string) string { return "wx:" + appID + ":stable_token" }

// get returns a token other than not, which WeChat has just rejected. It returns not if WeChat
// still gives no other token.
func (s *tokenSource) get(ctx context.Context, not string) (string, *Error) {
	for {
		s.mu.Lock()
		held := s.held
		s.mu.Unlock()
		if held.value != not && s.now().Before(held.until) {
			return held.value, nil
		}
		flight := s.flights.DoChan(not, func() (any, error) {
			// The flight serves all waiting callers, so it outlives the caller that started it.
			ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.timeout, errOwnTimeout)
			defer cancel()
			return s.load(ctx, not)
		})
		select {
		case <-ctx.Done():
			return "", ended(ctx, tokenEndpoint)
		case landed := <-flight:
			e, _ := errors.AsType[*Error](landed.Err)
			if e != nil && e.why() == reason.DeadlineExceeded && ctx.Err() == nil {
				continue // the flight began long before this call
			}
			token, _ := landed.Val.(string)
			return token, e
		}
	}
}

// load reads Redis, else takes the lock, reads Redis again and calls WeChat. Its error is an
// *Error.
func (s *tokenSource) load(ctx context.Context, not string) (token string, err error) {
	if not != "" {
		s.logger.WarnContext(ctx, "WeChat rejected the access token")
	}
	token, err = s.shared(ctx, not)
	if token != "" {
		return token, nil
	}
	if err != nil { // the lock would only wait for the same timeout
		if token = s.prolong(not); token != "" {
			return token, nil
		}
		return s.renew(ctx, not)
	}
	// A hanging holder keeps the lock for half of the timeout, so that the next one can fetch.
	err = single.Do(ctx, s.redis, s.key+":lock", s.timeout/2,
		func() (bool, error) {
			token, _ = s.shared(ctx, not)
			return token != "", nil
		},
		func(error) (err error) {
			token, err = s.renew(ctx, not)
			return err
		})
	if err != nil && ctx.Err() != nil {
		err = ended(ctx, tokenEndpoint)
	}
	return token, err
}

// shared returns the token in Redis and keeps it. It returns "" if there is none, or only the
// rejected one, which it deletes. It returns an error if Redis is unavailable.
func (s *tokenSource) shared(ctx context.Context, not string) (string, error) {
	pipe := s.redis.Pipeline()
	value, ttl := pipe.Get(ctx, s.key), pipe.PTTL(ctx, s.key)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return "", err
	}
	token, left := value.Val(), ttl.Val()
	switch {
	case left <= 0 || !validToken.MatchString(token):
		return "", nil
	case token == not:
		return "", single.Delete(ctx, s.redis, s.key, not)
	}
	s.keep(token, left)
	return token, nil
}

// prolong returns the copy in memory until it must be refreshed, and then "". It is used while
// Redis is down.
func (s *tokenSource) prolong(not string) string {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	left := held.refreshAt.Sub(s.now())
	if left <= 0 || held.value == not {
		return ""
	}
	s.keep(held.value, left)
	return held.value
}

// renew fetches a token from WeChat and keeps it, here and in Redis.
func (s *tokenSource) renew(ctx context.Context, not string) (string, error) {
	s.mu.Lock()
	cause := "cold"
	switch {
	case not != "":
		cause = "rejected"
	case s.held.value != "":
		cause = "refresh"
	}
	s.mu.Unlock()
	s.fetches.WithLabelValues(cause).Inc()
	token, lifetime, e := s.fetch(ctx, false)
	if e != nil {
		return "", e
	}
	if token == not && s.mayForce(ctx) {
		s.logger.WarnContext(ctx, "WeChat returned the rejected access token again: forcing a new one")
		s.fetches.WithLabelValues("forced").Inc()
		forced, its, e := s.fetch(ctx, true)
		if e == nil {
			token, lifetime = forced, its
		} else { // try the same token: WeChat may accept it now
			s.logger.WarnContext(ctx, "force a new access token", "error", e.Error())
		}
	}
	use := max(lifetime-minMargin-rand.N(maxMargin-minMargin), minUse)
	s.keep(token, use)
	if err := s.redis.Set(ctx, s.key, token, use).Err(); err != nil {
		s.logger.WarnContext(ctx, "access token is not shared with other replicas", "error", err)
	}
	return token, nil
}

// keep stores a token as this process's copy, to be refreshed after use.
func (s *tokenSource) keep(token string, use time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.held = heldToken{value: token, until: now.Add(min(recheck, use)), refreshAt: now.Add(use)}
}

// mayForce reserves one force_refresh among all replicas. It returns false without Redis.
func (s *tokenSource) mayForce(ctx context.Context) bool {
	return s.redis.SetNX(ctx, s.key+":force", 1, forceApart).Val()
}

// ProbeRedis runs the Redis commands of the access token on a probe key, and returns Redis's error.
func ProbeRedis(ctx context.Context, client redis.UniversalClient, appID string) error {
	key := tokenKey(appID) + ":probe"
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, key, "probe", time.Second)
		p.Get(ctx, key)
		p.PTTL(ctx, key)
		return nil
	})
	return err
}
