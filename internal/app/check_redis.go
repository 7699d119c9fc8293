package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/api"
	"shares/internal/cache"
	"shares/internal/quota"
	"shares/rpc"
	"shares/simulator"
)

// checkRedis runs what each package runs on Redis, with a key of each kind.
func (p *program) checkRedis(ctx context.Context, r *report) {
	if p.config.RedisAddr == "" {
		r.ok("embedded, in memory (set REDIS_ADDR for a real one)")
		return
	}
	p.config.RedisTimeout = 2 * time.Second // a slow answer is not the subject
	if err := p.openRedis(); err != nil {
		r.fail("%w", err)
		return
	}
	start := time.Now()
	if err := p.redis.Ping(ctx).Err(); err != nil {
		var reached bool
		if err, reached = redisCause(err); !reached {
			r.fail("%s: %w", p.config.RedisAddr, err)
			return
		}
		r.fail("PING: %w", err)
	} else {
		r.ok("%s answers in %s", p.config.RedisAddr, time.Since(start).Round(10*time.Microsecond))
	}
	step := func(step string, err error) {
		if err != nil {
			err, _ = redisCause(err)
			r.fail("%s: %w", step, err)
			return
		}
		r.ok("%s", step)
	}
	cache.Probe(ctx, p.redis, step)
	step("limit of logins", quota.Probe(ctx, p.redis, api.LoginKeys+"probe"))
	rpc.ProbeRedis(ctx, p.redis, cmp.Or(p.config.WechatAppID, simulator.DefaultAppID), step)
}

// scriptPosition is what Redis adds to the error of a command in a script.
var scriptPosition = regexp.MustCompile(` script: \w+, on @user_script:\d+\.?`)

// redisCause adds a way out to an error of Redis. It reports whether Redis accepted the connection.
func redisCause(err error) (error, bool) {
	text := scriptPosition.ReplaceAllString(err.Error(), "")
	var refusal redis.Error
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "NOAUTH"),
		strings.Contains(text, "invalid password"), strings.Contains(text, "AUTH <password>"):
		return fmt.Errorf("wrong user or password: check REDIS_USERNAME and REDIS_PASSWORD: %s", text), false
	case strings.Contains(text, "NOPERM"), strings.Contains(text, "ACL failure"),
		strings.Contains(text, "The user executing the script can't"):
		return fmt.Errorf("allow it to the user in Redis's ACL: %s", text), true
	case errors.As(err, &refusal):
		return errors.New(text), true
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.EOF) {
		err = fmt.Errorf("does not answer: check REDIS_ADDR, REDIS_TLS and the network: %w", err)
	}
	return err, false
}
