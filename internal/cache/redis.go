package cache

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Keys and the channel in Redis, the same for every version of the program.
const (
	prefix     = "shares:"
	generation = prefix + "generation"
	channel    = prefix + "invalidations"
)

// Messages on the channel begin with their kind.
const (
	messageRow  = "row "  // and the invalidated key
	messageBeat = "beat " // and the name of a process and the time, by its clock
)

// The scripts use KEYS[1] and literal commands only, because proxies of managed Redis refuse
// others.
const (
	// ARGV: expected content, empty for none; new content; ms to live.
	casText = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`

	// ARGV: channel, message.
	invalidateText = `
redis.call('DEL', KEYS[1])
return redis.call('PUBLISH', ARGV[1], ARGV[2])`

	// ARGV: a new generation, for when no process has kept one alive; ms to live.
	generationText = `
local generation = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], generation, 'PX', ARGV[2])
return generation`
)

var (
	casScript        = redis.NewScript(casText)
	invalidateScript = redis.NewScript(invalidateText)
	generationScript = redis.NewScript(generationText)
)

// call bounds a call to Redis and counts its failure.
func (c *Cache) call(ctx context.Context, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := f(limited)
	if err != nil && !errors.Is(err, redis.Nil) && ctx.Err() == nil {
		c.count.errors.Inc()
	}
	return err
}

func (c *Cache) invalidate(ctx context.Context, key string) error {
	return c.call(ctx, func(ctx context.Context) error {
		return invalidateScript.Run(ctx, c.redis, []string{prefix + key}, channel, messageRow+key).Err()
	})
}

// dialTimeout bounds a dial, which goes on when the command that needed it has given up: with TLS
// on a busy machine it takes longer than a command may.
const dialTimeout = 500 * time.Millisecond

// Bound sets the limits without which an unavailable Redis delays requests: timeout for each
// command, no retries, contexts obeyed. Set TLSConfig before.
func Bound(o *redis.UniversalOptions, timeout time.Duration) {
	dial := redis.NewDialer(&redis.Options{DialTimeout: dialTimeout, TLSConfig: o.TLSConfig})
	// After PoolSize failed dials go-redis dials once a second only, and a Redis that is back
	// would stay unused for as long. Therefore a failed dial is a connection that does not work.
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			pipe, _ := net.Pipe()
			return deadConn{pipe, err}, nil
		}
		return conn, nil
	}
	o.DialTimeout = dialTimeout
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.MinIdleConns = 0      // dead connections would be kept
	o.PipelinePoolSize = -1 // one pool for all
	// A handshake for some vendors' servers, a refused command on every connection elsewhere.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// deadConn is a connection that could not be made: its first use says so.
type deadConn struct {
	net.Conn // has the other methods
	err      error
}

func (c deadConn) Read([]byte) (int, error)  { return 0, c.err }
func (c deadConn) Write([]byte) (int, error) { return 0, c.err }
