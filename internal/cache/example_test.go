package cache_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"shares/internal/cache"
)

// The second read is a cache hit. After a write, DelCtx invalidates the row, and the next read
// queries the database again.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	rows, err := cache.New(cache.Options{Redis: client, Local: 1000})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rows.Close()

	ctx, inDatabase := context.Background(), "alice"
	read := func() {
		var name, source string = "", "the cache"
		err := rows.TakeCtx(ctx, &name, "user:1", func(val any) error {
			source = "the database"
			*val.(*string) = inDatabase
			return nil
		})
		fmt.Println(name, "from", source, err)
	}
	read()
	read()
	inDatabase = "bob"
	_ = rows.DelCtx(ctx, "user:1") // always nil: see its documentation
	read()
	// Output:
	// alice from the database <nil>
	// alice from the cache <nil>
	// bob from the database <nil>
}
