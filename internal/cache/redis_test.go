package cache

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// After some failed dials go-redis would dial only once a second, and use an available Redis late.
func TestDialingGoesOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	c := NewClient(redis.UniversalOptions{Addrs: []string{addr}, PoolSize: 1}, deadline)
	defer c.Close() // nothing is in flight
	for range 10 {
		if err := c.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("got %v, want a refused connection", err)
		}
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan struct{})
	go func() {
		if conn, err := l.Accept(); err == nil {
			close(dialled)
			_ = conn.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = c.Ping(ctx).Err()
	select {
	case <-dialled:
	case <-time.After(deadline):
		t.Error("the next call did not dial")
	}
}

// The pool of two has one connection in use and one idle; a third call timed out.
func TestCountPool(t *testing.T) {
	o := redis.UniversalOptions{Addrs: []string{testenv.Redis(t).Addr()}, PoolSize: 2}
	c := NewClient(o, 2*time.Second).(*redis.Client)
	t.Cleanup(func() { _ = c.Close() })
	metrics := prometheus.NewRegistry()
	CountPool(metrics, c)

	held, idle := c.Conn(), c.Conn()
	must(t, errors.Join(held.Ping(t.Context()).Err(), idle.Ping(t.Context()).Err()))
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("a pool of two gave a third connection")
	}
	must(t, idle.Close())
	defer held.Close() // the client is closed after it
	want := map[string]float64{
		"shares_redis_pool_connections in_use": 1,
		"shares_redis_pool_timeouts_total":     1,
	}
	if diff := cmp.Diff(want, gather(t, metrics)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
