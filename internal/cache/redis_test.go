package cache

import (
	"context"
	"errors"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// Proxies of managed Redis refuse scripts whose keys are computed, and a script that asks for the
// time depends on a clock that may step back.
func TestScriptsAreLiteral(t *testing.T) {
	call := regexp.MustCompile(`redis\.call\(('[A-Z]+'), (\S+?)[,)]`)
	text := map[string]string{
		"cas": casText, "invalidate": invalidateText, "generation": generationText,
	}
	for name, script := range text {
		calls := call.FindAllStringSubmatch(script, -1)
		if len(calls) != strings.Count(script, "redis.") || len(calls) == 0 {
			t.Errorf("%s: %d literal commands of %d", name, len(calls), strings.Count(script, "redis."))
		}
		for _, c := range calls {
			if c[2] != "KEYS[1]" && !(c[1] == "'PUBLISH'" && c[2] == "ARGV[1]") {
				t.Errorf("%s: %s: the key is not KEYS[1]", name, c[0])
			}
		}
		if strings.Contains(script, "TIME") {
			t.Errorf("%s uses Redis's clock", name)
		}
	}
}

func TestProbeNamesEachRefusal(t *testing.T) {
	const subscribe, invalidate = "subscribe to shares:invalidations", "script that invalidates and publishes"
	for rule, want := range map[string][]string{
		"-del":          {invalidate},
		"-publish":      {invalidate},
		"-subscribe":    {subscribe},
		"resetchannels": {subscribe, invalidate},
		"-get":          {"script that takes a lease", "script that stores a row", "read of a row", "script of the generation"},
		"-info":         {"INFO server, which shows a failover"},
		"-evalsha":      {"script that takes a lease", "script that stores a row", invalidate, "script of the generation"},
	} {
		t.Run(rule, func(t *testing.T) {
			s := server(t)
			if err := permit(t, s, rule); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, refusals(t, client(t, s.Addr()))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewRefusesOtherClients(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": "127.0.0.1:1"}})
	defer ring.Close() // unused
	for name, o := range map[string]Options{"no client": {}, "a ring": {Redis: ring}} {
		if c, err := New(o); err == nil {
			_ = c.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// go-redis dials only once a second after some failures, and the return of Redis would be seen
// late.
func TestDialingGoesOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	o := &redis.UniversalOptions{Addrs: []string{addr}, PoolSize: 1}
	Bound(o, deadline)
	c := redis.NewUniversalClient(o)
	defer c.Close() // nothing is in flight
	for range 10 {
		if err := c.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("got %v, want a refused connection", err)
		}
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the test ends
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

// Two connections, one in use, one idle, and a call too many.
func TestCountPool(t *testing.T) {
	o := &redis.UniversalOptions{Addrs: []string{testenv.Redis(t).Addr()}, PoolSize: 2}
	Bound(o, 2*time.Second)
	c := redis.NewUniversalClient(o).(*redis.Client)
	t.Cleanup(func() { _ = c.Close() })
	metrics := prometheus.NewRegistry()
	CountPool(metrics, c)

	held, idle := c.Conn(), c.Conn()
	if err := errors.Join(held.Ping(t.Context()).Err(), idle.Ping(t.Context()).Err()); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("a third connection of two")
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	defer held.Close() // the client is closed after it
	want := map[string]float64{
		"shares_redis_pool_connections in_use": 1,
		"shares_redis_pool_timeouts_total":     1,
	}
	if diff := cmp.Diff(want, gather(t, metrics)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
