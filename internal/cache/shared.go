package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

	markLen = 16
	timeLen = 13
	headLen = 1 + markLen + timeLen
)

var (
	// leaseScript answers for each key with what it holds when the caller may believe that, and else puts the caller's lease there and
	// answers with that. KEYS: the keys. ARGV: mark, ms after which it is believed, token, ms of the lease's life.
	leaseScript = redis.NewScript(`
local now = redis.call('TIME')
local lease = 'L' .. ARGV[1] .. string.format('%010d%03d', tonumber(now[1]), math.floor(tonumber(now[2]) / 1000)) .. ARGV[3]
local after = tonumber(ARGV[2])
local answers = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held and #held >= 30 and string.sub(held, 2, 17) == ARGV[1] and tonumber(string.sub(held, 18, 30)) > after then
    answers[i] = held
  else
    redis.call('SET', key, lease, 'PX', ARGV[4])
    answers[i] = lease
  end
end
return answers`)

	// fillScript stores values whose leases still stand, or gives the leases back. KEYS: the keys. ARGV, for each: lease, value or '',
	// ms to live.
	fillScript = redis.NewScript(`
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[3 * i - 2] then
    local value = ARGV[3 * i - 1]
    if value == '' then
      redis.call('DEL', key)
    else
      redis.call('SET', key, value, 'PX', ARGV[3 * i])
    end
  end
end
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
	row   []byte // when state is hit
	lease string
}

func (c *Cache) key(key string) string { return c.opts.Namespace + ":row:" + key }

// lookup reads the shared level, in one round trip when it has the values, and takes those leases that are free, if they are wanted.
func (c *Cache) lookup(ctx context.Context, keys []string, wantLease bool) []found {
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	all := make([]found, len(keys)) // away
	v := c.link.believe(call, c.clock)
	if v == nil {
		return all
	}
	asked := make([]int, 0, len(keys))
	for i, key := range keys {
		if !c.pending.has(key) {
			asked = append(asked, i)
		}
	}

	// A plain GET takes a third of the script's time (BenchmarkSharedHit), and is all that a hit needs.
	texts, err := c.get(call, c.keys(keys, asked))
	if err != nil {
		c.failed(ctx, err)
		return all
	}
	if v = c.link.believe(call, c.clock); v == nil {
		return all
	}
	free := asked[:0]
	for n, i := range asked {
		f, ok := v.read(texts[n])
		switch {
		case ok:
			all[i] = f
		case wantLease:
			free = append(free, i)
		default:
			all[i].state = missing
		}
	}
	if len(free) == 0 {
		return all
	}

	token := strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	texts, err = c.lease(call, c.keys(keys, free), v.mark, v.after, token, leaseLife.Milliseconds())
	if err != nil {
		c.failed(ctx, err)
		return all
	}
	v = c.link.believe(call, c.clock)
	for n, i := range free {
		if strings.HasSuffix(texts[n], token) {
			// Whichever server gave it: the mark in it says what a value stored by it is worth.
			all[i] = found{state: leased, lease: texts[n]}
		} else if v != nil {
			all[i], _ = v.read(texts[n])
		}
	}
	return all
}

// keys returns the keys of Redis for some of keys.
func (c *Cache) keys(keys []string, some []int) []string {
	full := make([]string, len(some))
	for n, i := range some {
		full[n] = c.key(keys[i])
	}
	return full
}

// get returns the values of keys, empty where there is none.
func (c *Cache) get(ctx context.Context, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	texts := make([]string, len(keys))
	if !c.apart {
		values, err := c.redis.MGet(ctx, keys...).Result()
		for i, value := range values {
			texts[i], _ = value.(string)
		}
		return texts, err
	}
	cmds, err := c.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	for i, cmd := range cmds {
		texts[i] = cmd.(*redis.StringCmd).Val()
	}
	return texts, nil
}

// lease runs leaseScript.
func (c *Cache) lease(ctx context.Context, keys []string, args ...any) ([]string, error) {
	groups := groups(c, keys)
	answers, err := c.run(ctx, leaseScript, len(groups), func(i int) ([]string, []any) { return groups[i], args })
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(keys))
	for _, answer := range answers {
		answer, _ := answer.StringSlice()
		texts = append(texts, answer...)
	}
	if len(texts) != len(keys) {
		return nil, errors.New("unexpected reply")
	}
	return texts, nil
}

// groups returns what one script can do together: all, or on a cluster each by itself, because the keys of a script must share a slot.
func groups[T any](c *Cache, all []T) [][]T {
	if c.apart {
		return slices.Collect(slices.Chunk(all, 1))
	}
	return [][]T{all}
}

// run runs a script n times, in one round trip, with the keys and arguments that of tells. It returns the first error.
func (c *Cache) run(ctx context.Context, script *redis.Script, n int, of func(int) (keys []string, args []any)) ([]*redis.Cmd, error) {
	cmds := make([]*redis.Cmd, n)
	if n == 1 {
		keys, args := of(0)
		cmds[0] = script.Run(ctx, c.redis, keys, args...)
		return cmds, cmds[0].Err()
	}
	pipe := c.redis.Pipeline()
	for i := range cmds {
		keys, args := of(i)
		cmds[i] = script.EvalSha(ctx, pipe, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each has its own error
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			keys, args := of(i)
			cmds[i] = script.Run(ctx, c.redis, keys, args...)
		}
		if err := cmds[i].Err(); err != nil {
			return nil, err
		}
	}
	return cmds, nil
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
	switch text[0] {
	case kindLease:
		return found{state: held}, true
	case kindValue:
		return found{state: hit, row: []byte(text[headLen:])}, true
	}
	return found{}, false
}

// fill is what is to become of a lease: a value that it allows to store, or nothing, which gives it back.
type fill struct {
	ctx   context.Context // of whoever took the lease
	key   string
	lease string
	value string
	life  time.Duration
}

// store returns what stores row under key, if f holds a lease.
func (f found) store(ctx context.Context, key string, row []byte, life time.Duration) []fill {
	if f.state != leased {
		return nil
	}
	return []fill{{ctx, key, f.lease, string(kindValue) + f.lease[1:headLen] + string(row), life}}
}

// release returns what gives the lease of f on key back, if it holds one, so that the next reader may store.
func (f found) release(ctx context.Context, key string) []fill {
	if f.state != leased {
		return nil
	}
	return []fill{{ctx, key, f.lease, "", leaseLife}}
}

// settle does fills, where the leases still stand.
func (c *Cache) settle(ctx context.Context, fills []fill) {
	if len(fills) == 0 || c.link.down.Load() {
		return
	}
	// Whoever has its row, or has left, owes this to the others.
	ctx = context.WithoutCancel(ctx)
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	groups := groups(c, fills)
	_, err := c.run(call, fillScript, len(groups), func(n int) ([]string, []any) {
		keys, args := make([]string, len(groups[n])), make([]any, 0, 3*len(groups[n]))
		for i, f := range groups[n] {
			keys[i] = c.key(f.key)
			args = append(args, f.lease, f.value, f.life.Milliseconds())
		}
		return keys, args
	})
	if err != nil {
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

// void ends the values and leases of keys in Redis and publishes that.
func (c *Cache) void(ctx context.Context, keys []string) error {
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	groups := groups(c, keys)
	_, err := c.run(call, voidScript, len(groups), func(n int) ([]string, []any) {
		full := make([]string, len(groups[n]))
		for i, key := range groups[n] {
			full[i] = c.key(key)
		}
		return full, []any{c.stream.void, strings.Join(groups[n], separator)}
	})
	if err != nil {
		return fmt.Errorf("void %d keys: %w", len(keys), err)
	}
	return nil
}
