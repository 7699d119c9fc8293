package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/devredis"
)

const (
	embeddedRedis = "embedded, in memory (set REDIS_ADDR for a real one)"

	// redisFile in SHARES_DATA_DIR holds the address of the embedded Redis while it runs, and the
	// prefix of its keys.
	redisFile = "redis.addr"
)

func (p *program) openRedis() error {
	c := p.config
	o := redis.UniversalOptions{
		Addrs:            c.RedisAddrs(),
		DB:               c.RedisDB,
		Username:         c.RedisUsername,
		Password:         string(c.RedisPassword),
		MasterName:       c.RedisMaster,
		SentinelUsername: c.RedisSentinelUsername,
		SentinelPassword: string(c.RedisSentinelPassword),
		IsClusterMode:    c.RedisType == "cluster",
	}
	if c.RedisTLS {
		files, err := config.TLSFiles("REDIS_TLS", c.RedisTLSCA, c.RedisTLSCert, c.RedisTLSKey)
		if err != nil {
			return err
		}
		files.InsecureSkipVerify = c.RedisTLSSkipVerify
		o.TLSConfig = files
	}
	if len(o.Addrs) == 0 {
		address, err := p.startRedis()
		if err != nil {
			return err
		}
		o.Addrs = []string{address}
		p.addPart("Redis", embeddedRedis)
	} else {
		p.parts = append(p.parts, part{"Redis", p.config.RedisAddr, p.checkRedis})
	}
	logging.Disable() // callers report failed commands
	p.servers, p.redis = o, cache.NewClient(o, c.RedisTimeout)
	p.onClose(p.redis.Close)
	cache.CountPool(p.metrics, p.redis)
	if p.config.OTLPEndpoint != "" {
		// Spans hold no statements, because keys identify users.
		if err := redisotel.InstrumentTracing(p.redis, redisotel.WithDBStatement(false)); err != nil {
			return fmt.Errorf("traces: %w", err)
		}
	}
	return nil
}

// startRedis starts the embedded Redis and writes its address to redisFile for `shares user`. It
// fails if another serve runs on the folder, because each would cache in its own Redis and miss the
// other's writes.
func (p *program) startRedis() (address string, err error) {
	file, err := p.dataFile(redisFile)
	if err != nil {
		return "", err
	}
	if running, err := os.ReadFile(file); err == nil {
		address, _, _ := strings.Cut(string(running), " ")
		if c, err := net.Dial("tcp", address); err == nil {
			return "", errors.Join(fmt.Errorf("SHARES_DATA_DIR: %s is in use by another shares serve "+
				"(delete %s if there is none)", p.config.DataDir, file), c.Close())
		}
	}
	address, stop, err := devredis.Start()
	if err != nil {
		return "", err
	}
	p.onClose(func() error { stop(); return nil })
	if err := os.WriteFile(file, []byte(address+" "+p.config.RedisPrefix), 0o600); err != nil {
		return "", fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	p.onClose(func() error {
		_ = os.Remove(file) // harmless if it stays: nothing answers at the address
		return nil
	})
	return address, nil
}

// findDevRedis makes openRedis use the embedded Redis of a running serve, if none is configured.
func (p *program) findDevRedis() error {
	if p.config.RedisAddr != "" {
		return nil
	}
	running, err := os.ReadFile(filepath.Join(p.config.DataDir, redisFile))
	if err != nil {
		return fmt.Errorf("REDIS_ADDR is not set, and no shares serve runs on %s: %w", p.config.DataDir, err)
	}
	p.config.RedisAddr, p.config.RedisPrefix, _ = strings.Cut(string(running), " ")
	return nil
}

func (p *program) askRedis(ctx context.Context) error { return redisCause(p.redis.Ping(ctx).Err()) }

// redisCause adds a remedy to an error of Redis.
func redisCause(err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), " script: ") // drop the script's hash and position
	var refusal redis.Error
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "NOAUTH"),
		strings.Contains(text, "invalid password"), strings.Contains(text, "AUTH <password>"):
		return fmt.Errorf("wrong user or password: check REDIS_USERNAME and REDIS_PASSWORD: %s", text)
	case strings.Contains(text, "NOPERM"), strings.Contains(text, "ACL failure"),
		strings.Contains(text, "The user executing the script can't"):
		return fmt.Errorf("allow it for the user in Redis's ACL: %s", text)
	case errors.As(err, &refusal):
		return errors.New(text)
	}
	if cause := certificateCause(err, "REDIS_TLS_CA"); cause != nil {
		return cause
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.EOF) {
		return fmt.Errorf("does not answer: check REDIS_ADDR, REDIS_TLS and the network: %w", err)
	}
	return err
}
