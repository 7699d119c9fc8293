package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What Redis holds under a key is a lease or a value, told apart by the first byte:
//
//	kind (1) | mark (16) | time of the lease in ms by Redis's clock (13) | token of the lease, or the value
//
// A value keeps mark and time of the lease it was stored by. A process believes only what carries its own mark (see link) and was
// leased after the last outage that it noticed.
const (
	kindLease = 'L'
	kindValue = 'V'
	kindNone  = 'N'

	markLen = 16
	timeLen = 13
	headLen = 1 + markLen + timeLen
)

var (
	// leaseScript answers with what the key holds when the caller may believe it, and else puts the caller's lease there and
	// answers with that. KEYS: the key. ARGV: mark, ms after which it is believed, token, ms of the lease's life.
	leaseScript = redis.NewScript(`
local held = redis.call('GET', KEYS[1])
if held and #held >= 30 and string.sub(held, 2, 17) == ARGV[1] and tonumber(string.sub(held, 18, 30)) > tonumber(ARGV[2]) then
  return held
end
local now = redis.call('TIME')
local lease = 'L' .. ARGV[1] .. string.format('%010d%03d', tonumber(now[1]), math.floor(tonumber(now[2]) / 1000)) .. ARGV[3]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[4])
return lease`)

	// fillScript stores a value if the lease still stands, or gives the lease back. KEYS: the key. ARGV: lease, value or '', ms to
	// live.
	fillScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

	// voidScript ends values and leases of all KEYS, and tells every process. ARGV: channel, message.
	voidScript = redis.NewScript(`
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
return redis.call('PUBLISH', ARGV[1], ARGV[2])`)
)

// state is how a lookup ended.
type state int

const (
	away    state = iota // Redis cannot be asked or believed
	hit                  // a value
	held                 // somebody else is reading it
	missing              // nothing, and no lease was asked for
	leased               // nothing, and the caller has the lease
)

// found is the answer of lookup.
type found struct {
	state state
	entry // when state is hit
	lease string
}

func (c *Cache) key(key string) string { return c.opts.Namespace + ":row:" + key }

// lookup reads the shared level, in one round trip when it has the value, and takes the lease if it is free and wanted.
func (c *Cache) lookup(ctx context.Context, key string, wantLease bool) found {
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	v := c.link.believe(call, c.clock)
	if v == nil || c.pending.has(key) {
		return found{state: away}
	}

	// A plain GET takes a third of the script's time (BenchmarkSharedHit), and is all that a hit needs.
	text, err := c.trips.get(call, c.key(key))
	switch {
	case err == nil:
		if v = c.link.believe(call, c.clock); v == nil {
			return found{state: away}
		}
		if f, ok := v.read(text); ok {
			return f
		}
	case !errors.Is(err, redis.Nil):
		c.failed(ctx, err)
		return found{state: away}
	}
	if !wantLease {
		return found{state: missing}
	}

	token := strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	answer, err := c.trips.script(call, leaseScript, c.key(key), v.mark, v.after, token, leaseLife.Milliseconds())
	if err != nil {
		c.failed(ctx, err)
		return found{state: away}
	}
	text, _ = answer.(string)
	if strings.HasSuffix(text, token) {
		// Whichever server gave it: the mark in it says what a value stored by it is worth.
		return found{state: leased, lease: text}
	}
	if v = c.link.believe(call, c.clock); v != nil {
		if f, ok := v.read(text); ok {
			return f
		}
	}
	return found{state: away}
}

// read returns what text, the content of a key, says to a process with view v, if v allows to believe it.
func (v *view) read(text string) (found, bool) {
	if len(text) < headLen || text[1:1+markLen] != v.mark {
		return found{}, false
	}
	at, err := strconv.ParseInt(text[1+markLen:headLen], 10, 64)
	if err != nil || at <= v.after {
		return found{}, false
	}
	switch kind := text[0]; kind {
	case kindLease:
		return found{state: held}, true
	case kindValue, kindNone:
		return found{state: hit, entry: entry{kind: kind, data: []byte(text[headLen:])}}, true
	}
	return found{}, false
}

// fill stores e by the lease that f holds, if it holds one and the lease still stands.
func (c *Cache) fill(ctx context.Context, key string, f found, e entry, life time.Duration) {
	if f.state != leased {
		return
	}
	c.settle(ctx, key, f.lease, string(e.kind)+f.lease[1:headLen]+string(e.data), life)
}

// release gives the lease of f back, so that the next reader may fill.
func (c *Cache) release(ctx context.Context, key string, f found) {
	if f.state != leased {
		return
	}
	c.settle(context.WithoutCancel(ctx), key, f.lease, "", leaseLife)
}

func (c *Cache) settle(ctx context.Context, key, lease, value string, life time.Duration) {
	if c.link.down.Load() {
		return
	}
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	if _, err := c.trips.script(call, fillScript, c.key(key), lease, value, life.Milliseconds()); err != nil {
		c.failed(ctx, err)
	}
}

// expunge removes a value that cannot be decoded.
func (c *Cache) expunge(ctx context.Context, key string) {
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	if err := c.redis.Del(call, c.key(key)).Err(); err != nil {
		c.failed(ctx, err)
	}
}

// void ends the values and leases of keys in Redis and publishes that: at once, or on a cluster key by key, because the keys of one
// script must share a slot.
func (c *Cache) void(ctx context.Context, keys []string) error {
	groups := [][]string{keys}
	if _, ok := c.redis.(*redis.ClusterClient); ok {
		groups = groups[:0]
		for i := range keys {
			groups = append(groups, keys[i:i+1])
		}
	}
	for _, group := range groups {
		full := make([]string, len(group))
		for i, key := range group {
			full[i] = c.key(key)
		}
		call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
		err := voidScript.Run(call, c.redis, full, c.stream.void, strings.Join(group, separator)).Err()
		cancel()
		if err != nil {
			return fmt.Errorf("void %d keys: %w", len(group), err)
		}
	}
	return nil
}
