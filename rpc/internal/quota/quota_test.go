package quota

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// The limits run on a real Redis and on the one that is embedded for
// development.
func TestTake(t *testing.T) {
	servers := map[string]func(*testing.T) redis.UniversalClient{
		"redis": func(t *testing.T) redis.UniversalClient { return testenv.Redis(t).Client(t) },
		"embedded": func(t *testing.T) redis.UniversalClient {
			c := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
			t.Cleanup(func() { c.Close() })
			return c
		},
	}
	for name, client := range servers {
		t.Run(name, func(t *testing.T) {
			rdb, ctx := client(t), t.Context()
			mustTake := func(key string, windows ...Window) (time.Duration, func(context.Context) error) {
				t.Helper()
				wait, undo, err := Take(ctx, rdb, key, windows...)
				if err != nil {
					t.Fatal(err)
				}
				return wait, undo
			}

			t.Run("exactly max, however many ask", func(t *testing.T) {
				var mu sync.Mutex
				var passed int
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						wait, _, err := Take(ctx, rdb, "many", Window{time.Minute, 7})
						mu.Lock()
						defer mu.Unlock()
						if err != nil {
							t.Error(err)
						}
						if wait == 0 {
							passed++
						}
					})
				}
				wg.Wait()
				if passed != 7 {
					t.Errorf("%d passed", passed)
				}
			})

			t.Run("the longest wait of all windows", func(t *testing.T) {
				windows := []Window{{time.Hour, 1}, {24 * time.Hour, 2}}
				if wait, _ := mustTake("two", windows...); wait != 0 {
					t.Fatal(wait)
				}
				if wait, _ := mustTake("two", windows...); wait <= 59*time.Minute || wait > time.Hour {
					t.Errorf("hour: %v", wait)
				}
				if wait, _ := mustTake("two", Window{24 * time.Hour, 2}); wait != 0 {
					t.Fatal(wait)
				}
				if wait, _ := mustTake("two", windows...); wait <= 23*time.Hour || wait > 24*time.Hour {
					t.Errorf("day: %v", wait)
				}
			})

			t.Run("a place given back", func(t *testing.T) {
				_, undo := mustTake("undo", Window{time.Hour, 1})
				if wait, _ := mustTake("undo", Window{time.Hour, 1}); wait == 0 {
					t.Fatal("the window was not full")
				}
				if err := undo(ctx); err != nil {
					t.Fatal(err)
				}
				if wait, _ := mustTake("undo", Window{time.Hour, 1}); wait != 0 {
					t.Errorf("wait %v", wait)
				}
			})

			t.Run("the window moves on", func(t *testing.T) {
				w := Window{200 * time.Millisecond, 2}
				mustTake("moves", w)
				mustTake("moves", w)
				wait, _ := mustTake("moves", w)
				if wait <= 0 || wait > w.Length {
					t.Fatalf("wait %v", wait)
				}
				time.Sleep(wait)
				if wait, _ := mustTake("moves", w); wait != 0 {
					t.Errorf("after the wait: %v", wait)
				}
			})

			t.Run("what is left behind expires", func(t *testing.T) {
				mustTake("expires", Window{time.Minute, 5}, Window{time.Hour, 5})
				ttl, err := rdb.PTTL(ctx, "expires").Result()
				if err != nil || ttl <= 59*time.Minute || ttl > time.Hour {
					t.Errorf("%v, %v", ttl, err)
				}
			})

			t.Run("no limit, no call", func(t *testing.T) {
				if wait, _ := mustTake("none", Window{time.Minute, 0}); wait != 0 {
					t.Error(wait)
				}
				if n, err := rdb.Exists(ctx, "none").Result(); n != 0 || err != nil {
					t.Error(n, err)
				}
			})
		})
	}
}
