package quota

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"shares/internal/reason"
	"shares/internal/testenv"
)

// Limits work on a real Redis and on the embedded one of dev mode.
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
			limit := func(of string, window time.Duration, limit int) *Limit {
				return &Limit{Redis: rdb, Prefix: of + ":", Window: window, Max: limit, Log: slog.New(slog.DiscardHandler)}
			}
			// wait takes one event. It returns its Retry-After, or 0 if it is admitted.
			wait := func(l *Limit) time.Duration {
				t.Helper()
				_, err := l.Take(ctx, "a")
				if err == nil {
					return 0
				}
				why, metadata := reason.Of(err)
				after, err := time.ParseDuration(metadata["retry_after"] + "s")
				if err != nil || why != reason.RateLimited || after < time.Second || after > max(l.Window, time.Second) {
					t.Fatalf("got %s, %v", why, metadata)
				}
				return after
			}

			t.Run("exactly max of many concurrent events", func(t *testing.T) {
				l := limit("many", time.Minute, 7)
				var passed atomic.Int64
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						if _, err := l.Take(ctx, "a"); err == nil {
							passed.Add(1)
						}
					})
				}
				wg.Wait()
				if passed.Load() != 7 {
					t.Errorf("%d passed, want 7", passed.Load())
				}
			})

			t.Run("an event given back", func(t *testing.T) {
				l := limit("back", 24*time.Hour, 1)
				giveBack, err := l.Take(ctx, "a")
				if err != nil {
					t.Fatal(err)
				}
				if w := wait(l); w <= 23*time.Hour {
					t.Fatalf("the next event waits %v, want a day", w)
				}
				if _, err := l.Take(ctx, "b"); err != nil {
					t.Errorf("another key: %v", err)
				}
				giveBack()
				if w := wait(l); w != 0 {
					t.Errorf("after giveBack: wait %v, want 0", w)
				}
			})

			t.Run("the window moves", func(t *testing.T) {
				l := limit("moves", 200*time.Millisecond, 1)
				wait(l)
				deadline := time.Now().Add(time.Minute)
				for wait(l) != 0 {
					if time.Now().After(deadline) {
						t.Fatal("the window does not move")
					}
				}
			})

			t.Run("the key expires", func(t *testing.T) {
				wait(limit("expires", time.Hour, 5))
				ttl, err := rdb.PTTL(ctx, "expires:a").Result()
				if err != nil || ttl <= 59*time.Minute || ttl > time.Hour {
					t.Errorf("%v, %v", ttl, err)
				}
			})

			t.Run("no limit, no call to Redis", func(t *testing.T) {
				if w := wait(limit("none", time.Hour, 0)); w != 0 {
					t.Error(w)
				}
				if n, err := rdb.Exists(ctx, "none:a").Result(); n != 0 || err != nil {
					t.Error(n, err)
				}
			})
		})
	}
}

func TestTakeFailsOpen(t *testing.T) {
	server := testenv.Redis(t)
	client := server.Client(t)
	var log bytes.Buffer
	open := prometheus.NewCounter(prometheus.CounterOpts{Name: "open"})
	l := &Limit{Redis: client, Prefix: "p:", Window: time.Hour, Max: 1, Log: slog.New(slog.NewTextHandler(&log, nil)), Open: open}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		giveBack, err := l.Take(ctx, "a")
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		giveBack()
	}
	if !strings.Contains(log.String(), "not counted") || testutil.ToFloat64(open) != 2 {
		t.Errorf("counted %v, want 2; log: %s", testutil.ToFloat64(open), &log)
	}
}
