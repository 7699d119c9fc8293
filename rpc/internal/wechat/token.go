package wechat

import (
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"sync/atomic"
	"time"

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
	*Client
	fetch func(ctx context.Context, force bool) (string, time.Duration, error)
	key   string // in Redis; prefix of the keys of the lock and of the force_refresh guard

	flights singleflight.Group // by rejected token, so that no flight is older than the rejection

	held atomic.Pointer[heldToken] // never nil
}

type heldToken struct {
	value     string
	until     time.Time // when to read Redis again
	refreshAt time.Time // when to call WeChat again
}

// get returns a token other than not, which WeChat has just rejected. It returns not if WeChat
// still gives no other token.
func (s *tokenSource) get(ctx context.Context, not string) (string, error) {
	for {
		if held := s.held.Load(); held.value != not && s.Now().Before(held.until) {
			return held.value, nil
		}
		flight := s.flights.DoChan(not, func() (any, error) {
			// The flight serves all waiting callers, so it outlives the caller that started it.
			ctx, cancel := s.bound(context.WithoutCancel(ctx))
			defer cancel()
			return s.load(ctx, not)
		})
		select {
		case <-ctx.Done():
			return "", ended(ctx, tokenEndpoint)
		case landed := <-flight:
			why, _ := reason.Of(landed.Err)
			if why == reason.DeadlineExceeded && ctx.Err() == nil {
				continue // the flight began long before this call
			}
			token, _ := landed.Val.(string)
			return token, landed.Err
		}
	}
}

// load reads Redis, else takes the lock, reads Redis again and calls WeChat. Its error is an
// *Error.
func (s *tokenSource) load(ctx context.Context, not string) (token string, err error) {
	if not != "" {
		s.Logger.WarnContext(ctx, "WeChat rejected the access token")
	}
	var down error // of Redis; the lock would only wait for the same timeout
	// A hanging holder keeps the lock for half of the timeout, so that the next one can fetch.
	err = single.Do(ctx, s.Redis, s.key+":lock", s.Timeout/2,
		func() (bool, error) {
			token, down = s.shared(ctx, not)
			return token != "" || down != nil, nil
		},
		func() (err error) {
			token, err = s.renew(ctx, not)
			return err
		})
	if down != nil {
		if held := s.held.Load(); held.value != not && s.Now().Before(held.refreshAt) {
			s.keep(held.value, held.refreshAt.Sub(s.Now()))
			return held.value, nil
		}
		return s.renew(ctx, not)
	}
	if err != nil && ctx.Err() != nil {
		err = ended(ctx, tokenEndpoint)
	}
	return token, err
}

// shared returns the token in Redis and keeps it. It returns "" if there is none, or only the
// rejected one, which it deletes. It returns an error if Redis is unavailable.
func (s *tokenSource) shared(ctx context.Context, not string) (string, error) {
	pipe := s.Redis.Pipeline()
	value, ttl := pipe.Get(ctx, s.key), pipe.PTTL(ctx, s.key)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return "", err
	}
	token, left := value.Val(), ttl.Val()
	switch {
	case left <= 0 || !validToken.MatchString(token):
		return "", nil
	case token == not:
		return "", single.Delete(ctx, s.Redis, s.key, not)
	}
	s.keep(token, left)
	return token, nil
}

// renew fetches a token from WeChat and keeps it, here and in Redis.
func (s *tokenSource) renew(ctx context.Context, not string) (string, error) {
	cause := "refresh"
	if not != "" {
		cause = "rejected"
	} else if s.held.Load().value == "" {
		cause = "cold"
	}
	s.metrics.tokenFetches.WithLabelValues(cause).Inc()
	token, lifetime, err := s.fetch(ctx, false)
	if err != nil {
		return "", err
	}
	// All replicas share one reservation. Without Redis there is none.
	if token == not && s.Redis.SetNX(ctx, s.key+":force", 1, forceApart).Val() {
		s.Logger.WarnContext(ctx, "WeChat returned the rejected access token again: forcing a new one")
		s.metrics.tokenFetches.WithLabelValues("forced").Inc()
		forced, its, err := s.fetch(ctx, true)
		if err == nil {
			token, lifetime = forced, its
		} else { // try the same token: WeChat may accept it now
			s.Logger.WarnContext(ctx, "force a new access token", "error", err)
		}
	}
	use := max(lifetime-minMargin-rand.N(maxMargin-minMargin), minUse)
	s.keep(token, use)
	if err := s.Redis.Set(ctx, s.key, token, use).Err(); err != nil {
		s.Logger.WarnContext(ctx, "access token is not shared with other replicas", "error", err)
	}
	return token, nil
}

// keep stores a token as this process's copy, to be refreshed after use.
func (s *tokenSource) keep(token string, use time.Duration) {
	now := s.Now()
	s.held.Store(&heldToken{value: token, until: now.Add(min(recheck, use)), refreshAt: now.Add(use)})
}

// ProbeRedis runs the Redis commands of the access token on key, and returns Redis's error.
func ProbeRedis(ctx context.Context, client redis.UniversalClient, key string) error {
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, key, "probe", time.Second)
		p.Get(ctx, key)
		p.PTTL(ctx, key)
		return nil
	})
	return err
}
