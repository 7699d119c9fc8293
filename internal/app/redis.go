package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"

	"shares/internal/cache"
	"shares/internal/devredis"
)

func (p *program) openRedis() error {
	o := &redis.UniversalOptions{
		Addrs:         p.config.RedisAddrs(),
		Username:      p.config.RedisUsername,
		Password:      string(p.config.RedisPassword),
		IsClusterMode: p.config.RedisType == "cluster",
	}
	if p.config.RedisTLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if len(o.Addrs) == 0 {
		server, err := devredis.Start()
		if err != nil {
			return err
		}
		p.onClose(func() error { server.Close(); return nil })
		o.Addrs = []string{server.Addr()}
		p.devRedis = server.Addr()
		p.note("Redis", "embedded, in memory (set REDIS_ADDR for a real one)")
	} else {
		p.note("Redis", p.config.RedisAddr)
	}
	cache.Bound(o, p.config.RedisTimeout)
	redis.SetLogger(quietRedis{p.log})
	p.redis = redis.NewUniversalClient(o)
	p.onClose(p.redis.Close)
	cache.CountPool(p.metrics, p.redis)
	if p.config.OTLPEndpoint != "" {
		// Statements stay out of spans: keys name users.
		if err := redisotel.InstrumentTracing(p.redis, redisotel.WithDBStatement(false)); err != nil {
			return fmt.Errorf("traces: %w", err)
		}
	}
	return nil
}

// lockData keeps a second serve off the folder of one that runs: each would
// have a Redis of its own, and not see what the other writes.
func (p *program) lockData() error {
	if p.config.Pro() || p.config.RedisAddr != "" && p.config.MySQLDSN != "" {
		return nil
	}
	if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	lock := flock.New(filepath.Join(p.config.DataDir, "serve.lock"))
	switch locked, err := lock.TryLock(); {
	case err != nil:
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	case !locked:
		return fmt.Errorf("SHARES_DATA_DIR: %s is in use by another shares serve", p.config.DataDir)
	}
	p.onClose(lock.Close)
	return nil
}

// devRedisFile is where tellDevRedis writes.
func (p *program) devRedisFile() string { return filepath.Join(p.config.DataDir, "redis.addr") }

// tellDevRedis tells `shares user` and `shares check` where the Redis inside
// this serve is. It is for a serve that has its port: one that fails to start
// must not hide the one that runs.
func (p *program) tellDevRedis() error {
	if p.devRedis == "" {
		return nil
	}
	if err := os.WriteFile(p.devRedisFile(), []byte(p.devRedis), 0o600); err != nil {
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	p.onClose(func() error {
		if err := os.Remove(p.devRedisFile()); !errors.Is(err, fs.ErrNotExist) { // somebody cleared the folder
			return err
		}
		return nil
	})
	return nil
}

// findDevRedis has openRedis use the Redis inside a running serve, where none
// is configured.
func (p *program) findDevRedis() error {
	if p.config.RedisAddr != "" {
		return nil
	}
	addr, err := os.ReadFile(p.devRedisFile())
	if err != nil {
		return fmt.Errorf("REDIS_ADDR is not set, and no shares serve runs on %s: %w", p.config.DataDir, err)
	}
	p.config.RedisAddr = string(addr)
	return nil
}

// quietRedis takes what go-redis has to say about connections; what matters of
// it the callers report themselves.
type quietRedis struct{ log *slog.Logger }

// Printf implements go-redis's logger.
func (q quietRedis) Printf(_ context.Context, format string, v ...any) {
	q.log.Debug("redis client", "message", fmt.Sprintf(format, v...))
}
