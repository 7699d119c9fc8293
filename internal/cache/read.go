package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/jsonx"
)

// A key of Redis holds the level, the shape of the row's type, a kind, and the row as JSON or the
// token of a lease. Content of another level or shape counts as absent.
const (
	kindValue = "V"
	kindLease = "L"
)

// row is a row in memory. It is not modified.
type row struct {
	value   reflect.Value
	era     *era
	started time.Duration // when the read of it began
	long    bool          // it may live for longLife
}

// flight is a read under way. The fields after done may be read once done is closed.
type flight struct {
	era     *era
	started time.Duration
	done    chan struct{}

	value reflect.Value
	err   error // if neither is set, the leader's context ended
}

// take fills val, a pointer, from the local level, the shared level or query, in this order.
// Concurrent calls for one key share one read.
func (c *Cache) take(ctx context.Context, val any, key string,
	query func(val any, life time.Duration) error) error {
	dst := reflect.ValueOf(val).Elem()
	for {
		if value, ok := c.local(key); ok {
			c.count.memory.Inc()
			dst.Set(value)
			return nil
		}
		f, leads := c.join(key)
		if leads {
			return c.lead(ctx, f, val, key, query)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.err != nil {
			return f.err
		}
		if f.value.IsValid() {
			dst.Set(f.value)
			return nil
		}
	}
}

// lead reads for all that joined f. It runs in its caller's goroutine, because goctl's queries
// use the caller's context and variables.
func (c *Cache) lead(ctx context.Context, f *flight, val any, key string,
	query func(val any, life time.Duration) error) error {
	defer c.land(key, f)
	dst := reflect.ValueOf(val).Elem()
	level := f.era.level + c.shape(dst.Type())
	held, known := c.get(ctx, f.era, key)
	if text, ok := strings.CutPrefix(held, level+kindValue); known && ok {
		if err := decode(text, val); err == nil {
			c.count.shared.Inc()
			c.answer(f, dst)
			c.keep(key, f, true)
			return nil
		}
		c.log.WarnContext(ctx, "cached row cannot be decoded")
		dst.SetZero()
	}
	lease := ""
	if known && !strings.HasPrefix(held, level+kindLease) {
		lease = c.lease(ctx, f.era, key, held, level)
	}

	life := c.opts.TTL - rand.N(c.opts.TTL/5+1) // rows cached together do not expire together
	err := c.query(ctx, func() error { return query(val, life) })
	if err != nil {
		if ctx.Err() == nil {
			f.err = err
		}
		if lease != "" && c.usable(f.era) {
			c.cas(context.WithoutCancel(ctx), key, lease, "", time.Millisecond)
		}
		return err
	}
	c.answer(f, dst)
	filled := false
	if lease != "" && c.usable(f.era) {
		if text, ok := c.encode(ctx, val); ok {
			ctx := context.WithoutCancel(ctx)
			filled = c.cas(ctx, key, lease, level+kindValue+text, life)
		}
	}
	c.keep(key, f, filled)
	return nil
}

// query runs a query of the database as one of Options.Queries.
func (c *Cache) query(ctx context.Context, query func() error) error {
	select {
	case c.queries <- struct{}{}:
	default:
		wait, cancel := context.WithTimeout(ctx, c.opts.QueryTimeout)
		defer cancel()
		select {
		case c.queries <- struct{}{}:
		case <-wait.Done():
			return wait.Err()
		}
	}
	defer func() { <-c.queries }()
	c.count.database.Inc()
	return query()
}

// join returns the flight of key, and whether the caller leads it.
func (c *Cache) join(key string) (f *flight, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, e := c.clock(), c.era.Load()
	if f, ok := c.flights[key]; ok && f.era == e && now-f.started < shortLife {
		c.count.joined.Inc()
		return f, false
	}
	f = &flight{era: e, started: now, done: make(chan struct{})}
	c.flights[key] = f
	return f, true
}

// answer gives the callers that joined f a copy of the row in dst.
func (c *Cache) answer(f *flight, dst reflect.Value) {
	f.value = reflect.New(dst.Type()).Elem()
	f.value.Set(dst)
	if c.rows != nil {
		compact(f.value)
	}
	close(f.done)
}

// keep stores the result of f in the local level, unless its key was invalidated or read anew
// since.
func (c *Cache) keep(key string, f *flight, long bool) {
	if c.rows == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] == f {
		c.rows.Set(key, &row{value: f.value, era: f.era, started: f.started, long: long})
	}
}

// land ends f, also after a panic of its query.
func (c *Cache) land(key string, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] == f {
		delete(c.flights, key)
	}
	if !f.value.IsValid() {
		close(f.done)
	}
}

// forget drops the local row of key and detaches its read under way.
func (c *Cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, key)
	if c.rows != nil {
		c.rows.Invalidate(key)
	}
}

// local returns the row of key if it is in memory and may be used.
func (c *Cache) local(key string) (reflect.Value, bool) {
	if c.rows == nil {
		return reflect.Value{}, false
	}
	r, ok := c.rows.GetIfPresent(key)
	if !ok || r.era != c.era.Load() {
		return reflect.Value{}, false
	}
	now := c.clock()
	age := now - r.started
	return r.value, age < shortLife || r.long && age < longLife && int64(now) < c.proven.Load()
}

// compact moves the strings of a row into one allocation: 100,000 rows would otherwise be a
// million objects for the garbage collector.
func compact(value reflect.Value) {
	if value.Kind() != reflect.Struct {
		return
	}
	var all strings.Builder
	for i := range value.NumField() {
		if f := value.Field(i); f.Kind() == reflect.String && f.CanSet() {
			all.WriteString(f.String())
		}
	}
	rest := all.String()
	for i := range value.NumField() {
		if f := value.Field(i); f.Kind() == reflect.String && f.CanSet() {
			n := f.Len()
			f.SetString(rest[:n])
			rest = rest[n:]
		}
	}
}

// get returns what Redis holds under key; known is false when the shared level may not be used.
func (c *Cache) get(ctx context.Context, e *era, key string) (held string, known bool) {
	if !c.usable(e) {
		return "", false
	}
	call, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	held, err := c.redis.Get(call, c.key(key)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		c.failed(ctx, err)
		return "", false
	}
	return held, c.usable(e)
}

// lease replaces what Redis holds under key by a lease, and returns it, or "" if that failed.
func (c *Cache) lease(ctx context.Context, e *era, key, held, level string) string {
	lease := level + kindLease +
		strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	if !c.cas(ctx, key, held, lease, leaseLife) || !c.usable(e) {
		return ""
	}
	return lease
}

// shape names a type by its fields, so that a program version with another column does not read
// the rows of this one.
func (c *Cache) shape(t reflect.Type) string {
	if s, ok := c.shapes.Load(t); ok {
		return s.(string)
	}
	h := fnv.New32a()
	fmt.Fprintln(h, t)
	for i := 0; t.Kind() == reflect.Struct && i < t.NumField(); i++ {
		fmt.Fprintln(h, t.Field(i).Name, t.Field(i).Type)
	}
	s := fmt.Sprintf("%08x", h.Sum32())
	c.shapes.Store(t, s)
	return s
}

func (c *Cache) encode(ctx context.Context, val any) (string, bool) {
	text, err := json.Marshal(val)
	if err != nil {
		c.log.ErrorContext(ctx, "row cannot be cached", "type", fmt.Sprintf("%T", val))
	}
	return string(text), err == nil
}

// decode is the reverse of encode.
func decode(text string, val any) error {
	var err error
	if _, ok := val.(*any); ok {
		err = jsonx.UnmarshalFromString(text, val) // keeps the primary key of an index exact
	} else {
		err = json.Unmarshal([]byte(text), val)
	}
	if err != nil {
		return errors.New("cache: value is not a row of this program") // err may quote the row
	}
	return nil
}
