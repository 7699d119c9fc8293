package quota

import (
	"bytes"
	"context"
	"crypto/rand"
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

// TestLimit runs on a real Redis and on the embedded one of dev mode.
func TestLimit(t *testing.T) {
	embedded := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { embedded.Close() })
	for server, client := range map[string]redis.UniversalClient{
		"redis": testenv.Redis(t).Client(t), "embedded": embedded,
	} {
		for name, test := range map[string]func(*testing.T, *Limit){
			"max concurrent events": testConcurrentEvents,
			"give back":             testGiveBack,
			"window moves":          testWindow,
			"key expires":           testExpiry,
			"no limit, no call":     testNoLimit,
		} {
			t.Run(server+" "+name, func(t *testing.T) {
				test(t, &Limit{
					Redis: client, Prefix: rand.Text(), Window: 24 * time.Hour, Max: 1,
					Log: slog.New(slog.DiscardHandler),
				})
			})
		}
	}
}

// wait takes one event of "a". It returns its Retry-After, or 0 if it is admitted.
func wait(t *testing.T, l *Limit) time.Duration {
	t.Helper()
	_, err := l.Take(t.Context(), "a")
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

func testConcurrentEvents(t *testing.T, l *Limit) {
	l.Max = 7
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := l.Take(t.Context(), "a"); err == nil {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 7 {
		t.Errorf("%d passed, want 7", passed.Load())
	}
}

func testGiveBack(t *testing.T, l *Limit) {
	giveBack, err := l.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if w := wait(t, l); w <= 23*time.Hour {
		t.Fatalf("the next event waits %v, want a day", w)
	}
	if _, err := l.Take(t.Context(), "b"); err != nil {
		t.Errorf("another key: %v", err)
	}
	giveBack()
	if w := wait(t, l); w != 0 {
		t.Errorf("after giveBack: wait %v, want 0", w)
	}
}

func testWindow(t *testing.T, l *Limit) {
	l.Window = 200 * time.Millisecond
	wait(t, l)
	for deadline := time.Now().Add(time.Minute); wait(t, l) != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the window does not move")
		}
	}
}

func testExpiry(t *testing.T, l *Limit) {
	wait(t, l)
	ttl, err := l.Redis.PTTL(t.Context(), l.Prefix+"a").Result()
	if err != nil || ttl <= 23*time.Hour || ttl > 24*time.Hour {
		t.Errorf("time to live is %v, %v, want about a day", ttl, err)
	}
}

func testNoLimit(t *testing.T, l *Limit) {
	l.Max = 0
	if w := wait(t, l); w != 0 {
		t.Errorf("wait %v, want 0", w)
	}
	if n, err := l.Redis.Exists(t.Context(), l.Prefix+"a").Result(); n != 0 || err != nil {
		t.Errorf("%d keys, %v, want none", n, err)
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
