package cache

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
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

// Messages on the channel begin with their kind.
const (
	messageRow  = "row "  // and the invalidated key
	messageBeat = "beat " // and the name of a process and the time, by its clock
)

func channel(prefix string) string { return prefix + ":invalidations" }

func (c *Cache) key(key string) string { return c.opts.Prefix + ":" + c.opts.Rename(key) }

// cas runs casScript and reports whether the key has the new content.
func (c *Cache) cas(ctx context.Context, key, expected, content string, life time.Duration) bool {
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	keys := []string{c.key(key)}
	n, err := casScript.Run(call, c.redis, keys, expected, content, life.Milliseconds()).Int()
	if err != nil {
		c.failed(ctx, err)
	}
	return n == 1
}

// invalidate runs invalidateScript.
func (c *Cache) invalidate(ctx context.Context, key string) error {
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	err := invalidateScript.Run(call, c.redis, []string{c.key(key)},
		c.heart.channel, messageRow+key).Err()
	if err != nil {
		c.failed(ctx, err)
	}
	return err
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
			return deadConn{err: err}, nil
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

// beatClient returns a client of the same servers with one connection to each, so that heartbeats
// do not wait for a pool that requests use up. dials counts its connections.
func beatClient(client redis.UniversalClient, dials *atomic.Uint64) (redis.UniversalClient, error) {
	dialled := func(context.Context, *redis.Conn) error { dials.Add(1); return nil }
	switch client := client.(type) {
	case *redis.Client:
		o := *client.Options()
		o.PoolSize, o.MaxRetries, o.OnConnect = 1, -1, dialled
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = beatReply, beatReply, beatReply
		return redis.NewClient(&o), nil
	case *redis.ClusterClient:
		o := *client.Options()
		o.PoolSize, o.MaxRetries, o.OnConnect = 1, -1, dialled
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = beatReply, beatReply, beatReply
		return redis.NewClusterClient(&o), nil
	}
	return nil, fmt.Errorf("cache: Options.Redis is a %T", client)
}

// deadConn is a connection that could not be made: its first use says so.
type deadConn struct {
	net.Conn
	err error
}

func (c deadConn) Read([]byte) (int, error)         { return 0, c.err }
func (c deadConn) Write([]byte) (int, error)        { return 0, c.err }
func (c deadConn) Close() error                     { return nil }
func (c deadConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c deadConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c deadConn) SetDeadline(time.Time) error      { return nil }
func (c deadConn) SetReadDeadline(time.Time) error  { return nil }
func (c deadConn) SetWriteDeadline(time.Time) error { return nil }
