package cache

import (
	"context"
	"database/sql"
	"time"

	"github.com/zeromicro/go-zero/core/stores/cache"
)

// TakeCtx reads rows and DelCtx invalidates them. The other methods only complete the interface.
var _ cache.Cache = (*Cache)(nil)

// GetCtx returns sql.ErrNoRows, because only TakeCtx reads rows.
func (c *Cache) GetCtx(context.Context, string, any) error { return sql.ErrNoRows }

// SetCtx stores nothing, because without a lease val may be older than the last invalidation.
func (c *Cache) SetCtx(context.Context, string, any) error { return nil }

// SetWithExpireCtx is SetCtx. goctl's FindOneBy… calls it for the row's primary key.
func (c *Cache) SetWithExpireCtx(context.Context, string, any, time.Duration) error { return nil }

// Del is DelCtx without a context.
func (c *Cache) Del(keys ...string) error { return c.DelCtx(context.Background(), keys...) }

// Get is GetCtx.
func (c *Cache) Get(string, any) error { return sql.ErrNoRows }

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
