package cache

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Names in Redis, after the prefix. They are the same for every version of the program.
const (
	generation = "generation"
	channel    = "invalidations"
)

// Messages on the channel begin with their kind.
const (
	messageRow  = "row "  // and the name of the invalidated key
	messageBeat = "beat " // and the name of a process and the time, by its clock
)

// The scripts use only KEYS[1] and literal commands, because proxies of managed Redis refuse
// others.
var (
	// ARGV: expected content, empty for none; new content; ms to live.
	casScript = redis.NewScript(`
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

	// ARGV: a new generation, used if there is none; ms to live.
	generationScript = redis.NewScript(`
local generation = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], generation, 'PX', ARGV[2])
return generation`)
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

// invalidate deletes a key and then publishes a message. It is no script, because proxies refuse
// PUBLISH there. Each of the two may happen without the other, but only if invalidate fails.
func (c *Cache) invalidate(ctx context.Context, to redis.Cmdable, name, message string) error {
	_, err := to.Pipelined(ctx, func(p redis.Pipeliner) error {
		c.queue(ctx, p, name, message)
		return nil
	})
	return err
}

// queue adds the two commands of invalidate to a pipeline.
func (c *Cache) queue(ctx context.Context, p redis.Pipeliner, name, message string) {
	p.Del(ctx, c.prefix+name)
	p.Publish(ctx, c.prefix+channel, message)
}

// dialTimeout is longer than the timeout of a command, because a dial with TLS on a busy machine
// takes longer. The dial continues after its command has timed out.
const dialTimeout = 500 * time.Millisecond

// NewClient returns a client with limits, so that an unavailable Redis does not delay requests: a
// timeout for each command, no retries, contexts obeyed.
func NewClient(o redis.UniversalOptions, timeout time.Duration) redis.UniversalClient {
	if o.Dialer == nil {
		o.Dialer = redis.NewDialer(&redis.Options{DialTimeout: dialTimeout, TLSConfig: o.TLSConfig})
	}
	o.Dialer = redialing(o.Dialer)
	o.DialTimeout = dialTimeout
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.MinIdleConns = 0      // dead connections would be kept
	o.PipelinePoolSize = -1 // one pool for all
	// Other vendors' servers, and users without the right, would refuse these handshakes.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.DisableIdentity = true
	client := redis.NewUniversalClient(&o)
	if c, ok := client.(*redis.Client); ok && o.MasterName != "" {
		c.Options().Dialer = redialing(c.Options().Dialer) // it asks the sentinels first
	}
	return client
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// redialing returns a dialer whose failed dials return a deadConn. After PoolSize failed dials
// go-redis dials only once a second, so a Redis that is available again would stay unused for a
// second.
func redialing(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			pipe, _ := net.Pipe()
			return deadConn{pipe, err}, nil
		}
		return conn, nil
	}
}

// deadConn stands for a failed dial: its first use returns the dial's error.
type deadConn struct {
	net.Conn // provides the other methods
	err      error
}

func (c deadConn) Read([]byte) (int, error)  { return 0, c.err }
func (c deadConn) Write([]byte) (int, error) { return 0, c.err }
