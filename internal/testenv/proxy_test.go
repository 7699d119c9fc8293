package testenv

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestProxy(t *testing.T) {
	s := Redis(t)
	p := NewProxy(t, s.Addr())
	c := redis.NewClient(&redis.Options{Addr: p.Addr(), MaxRetries: -1, ReadTimeout: time.Minute})
	defer c.Close()
	ctx := t.Context()
	if err := c.Set(ctx, "k", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}

	dropped := p.DropReply("lost")
	if got, err := c.Get(ctx, "k").Result(); got != "1" || err != nil {
		t.Fatalf("another request: %q, %v", got, err)
	}
	if err := c.Set(ctx, "k", "lost", 0).Err(); err == nil {
		t.Error("the reply was not dropped")
	}
	<-dropped
	if got, err := c.Get(ctx, "k").Result(); got != "lost" || err != nil {
		t.Errorf("the request was not executed, or the proxy is broken: %q, %v", got, err)
	}

	p.Cut()
	if err := c.Ping(ctx).Err(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while cut: %v, want a closed connection", err)
	}
	p.Restore()
	if err := c.Ping(ctx).Err(); err != nil {
		t.Errorf("after Restore: %v", err)
	}
}
