package cache

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"time"

	gozero "github.com/zeromicro/go-zero/core/stores/cache"
)

var _ gozero.Cache = (*Cache)(nil)

// TakeCtx fills val, a pointer, from the cache or by query. Calls for one key share one query and
// must pass pointers to one type; what val points to is a shallow copy that others share. TakeCtx
// returns the error of query, which is not cached, or that of ctx.
func (c *Cache) TakeCtx(ctx context.Context, val any, key string, query func(val any) error) error {
	return c.take(ctx, val, key, func(val any, _ time.Duration) error { return query(val) })
}

// TakeWithExpireCtx is TakeCtx; query is told how long the value will live in Redis.
func (c *Cache) TakeWithExpireCtx(ctx context.Context, val any, key string,
	query func(val any, expire time.Duration) error) error {
	return c.take(ctx, val, key, query)
}

// GetCtx decodes the shared value of key into val, or returns sql.ErrNoRows.
func (c *Cache) GetCtx(ctx context.Context, key string, val any) error {
	e := c.era.Load()
	held, _ := c.get(ctx, e, key)
	level := e.level + c.shape(reflect.TypeOf(val).Elem())
	text, ok := strings.CutPrefix(held, level+kindValue)
	if !ok {
		return sql.ErrNoRows
	}
	return decode(text, val)
}

// IsNotFound reports whether err says that there is no such row.
func (c *Cache) IsNotFound(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// SetCtx stores nothing: without a lease a value may be older than the last invalidation.
func (c *Cache) SetCtx(context.Context, string, any) error { return nil }

// SetWithExpireCtx is SetCtx. goctl's FindOneBy… calls it for the row's primary key.
func (c *Cache) SetWithExpireCtx(context.Context, string, any, time.Duration) error { return nil }

// The methods without a context complete the interface.

// Del is DelCtx without a context.
func (c *Cache) Del(keys ...string) error { return c.DelCtx(context.Background(), keys...) }

// Get is GetCtx without a context.
func (c *Cache) Get(key string, val any) error { return c.GetCtx(context.Background(), key, val) }

// Set is SetCtx.
func (c *Cache) Set(string, any) error { return nil }

// SetWithExpire is SetCtx.
func (c *Cache) SetWithExpire(string, any, time.Duration) error { return nil }

// Take is TakeCtx without a context.
func (c *Cache) Take(val any, key string, query func(val any) error) error {
	return c.TakeCtx(context.Background(), val, key, query)
}

// TakeWithExpire is TakeWithExpireCtx without a context.
func (c *Cache) TakeWithExpire(val any, key string,
	query func(val any, expire time.Duration) error) error {
	return c.TakeWithExpireCtx(context.Background(), val, key, query)
}
