package avatar

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func TestCap(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	var log bytes.Buffer
	c := &Cap{Redis: client, App: "wx1", PerDay: 2, Timeout: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))}
	take := func(user int64) func() {
		t.Helper()
		giveBack, err := c.Take(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		return giveBack
	}
	refused := func(user int64) {
		t.Helper()
		_, err := c.Take(t.Context(), user)
		full, ok := errors.AsType[*CapError](err)
		if !ok || full.RetryAfter <= 23*time.Hour || full.RetryAfter > 24*time.Hour {
			t.Errorf("got %v, want a day to wait", err)
		}
	}
	take(7)
	giveBack := take(7)
	refused(7)
	take(8) // somebody else
	giveBack()
	take(7)
	refused(7)
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
	server.Close()
	take(7)()
	if !strings.Contains(log.String(), "not counted") {
		t.Errorf("Redis is away, and the log says %q", &log)
	}
}
