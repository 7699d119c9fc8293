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

// The scripts use only KEYS[1] and literal commands, because proxies of managed Redis refuse
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

	// ARGV: a new generation, used if there is none; ms to live.
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

// call runs f with a timeout and counts its failures.
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

// dialTimeout is longer than the timeout of a command, because a dial with TLS on a busy machine
// takes longer. The dial continues after its command has timed out.
const dialTimeout = 500 * time.Millisecond

// Bound sets limits, so that an unavailable Redis does not delay requests: a timeout for each
// command, no retries, contexts obeyed. Set TLSConfig before calling it.
func Bound(o *redis.UniversalOptions, timeout time.Duration) {
	dial := redis.NewDialer(&redis.Options{DialTimeout: dialTimeout, TLSConfig: o.TLSConfig})
	// After PoolSize failed dials go-redis dials only once a second, so a Redis that is available
	// again would stay unused for a second. Therefore a failed dial returns a deadConn.
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
	// Other vendors' servers would refuse this handshake's command on every connection.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// deadConn stands for a failed dial: its first use returns the dial's error.
type deadConn struct {
	net.Conn // provides the other methods
	err      error
}

func (c deadConn) Read([]byte) (int, error)  { return 0, c.err }
func (c deadConn) Write([]byte) (int, error) { return 0, c.err }
