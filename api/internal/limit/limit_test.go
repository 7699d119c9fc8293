package limit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/testenv"
)

const address = "203.0.113.7"

var discard = slog.New(slog.DiscardHandler)

// serviceClient is a client with the service's own limits on a slow Redis.
func serviceClient(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	o := &redis.UniversalOptions{Addrs: []string{addr}}
	cache.Bound(o, 100*time.Millisecond)
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Replicas count together, each address by itself.
func TestLoginsAreCountedByAllReplicas(t *testing.T) {
	server := testenv.Redis(t)
	reg := prometheus.NewRegistry()
	metrics := NewMetrics(reg)
	replicas := []*Logins{
		NewLogins(server.Client(t), 2, discard, metrics),
		NewLogins(server.Client(t), 2, discard, metrics),
	}
	ctx := context.Background()
	for i := range 2 {
		if ok, _ := replicas[i].Allow(ctx, address); !ok {
			t.Fatalf("login %d of 2 refused", i+1)
		}
	}
	for i, l := range replicas {
		ok, after := l.Allow(ctx, address)
		if ok || after <= 0 || after > 30*time.Second { // two a minute
			t.Errorf("replica %d, login 3: %v, after %v", i, ok, after)
		}
		if ok, _ := l.Allow(ctx, "2001:db8:1:2::/64"); !ok {
			t.Errorf("replica %d refuses another address", i)
		}
	}
	want := "# HELP shares_limit_refused_total Requests refused by a rate limit.\n# TYPE shares_limit_refused_total counter\n" +
		`shares_limit_refused_total{limit="login"} 2` + "\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_limit_refused_total"); err != nil {
		t.Error(err)
	}
}

// What refuses says when the next may come, and then it does.
func TestLoginsComeBack(t *testing.T) {
	server := testenv.Redis(t)
	l := NewLogins(server.Client(t), 20, discard, NewMetrics(nil)) // one in 3 s
	ctx := context.Background()
	var after time.Duration
	for ok := true; ok; {
		ok, after = l.Allow(ctx, address)
	}
	if after <= 0 || after > 3*time.Second {
		t.Fatalf("after %v", after)
	}
	time.Sleep(after) // a true bound on what is promised, not a guess
	if ok, again := l.Allow(ctx, address); !ok {
		t.Errorf("refused for %v more after %v", again, after)
	}
}

// The default lets a thousand phones behind one address log in at the same moment, and still is a limit.
func TestDefaultServesACarrierNAT(t *testing.T) {
	perMinute := 0
	for _, s := range config.Settings() {
		if s.Env == "SHARES_LOGIN_PER_MINUTE" {
			perMinute, _ = strconv.Atoi(s.Default)
		}
	}
	metrics := NewMetrics(nil)
	l := NewLogins(testenv.Redis(t).Client(t), perMinute, discard, metrics)
	var refused atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				if ok, _ := l.Allow(context.Background(), address); !ok {
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := refused.Load(); n != 0 {
		t.Errorf("%d of 1000 refused", n)
	}
	if n := testutil.ToFloat64(metrics.open); n != 0 {
		t.Errorf("%v were not counted", n)
	}
}

// Without Redis everybody is let in, quickly, and the operator learns of it; with Redis back, the limit is too.
func TestLoginsFailOpen(t *testing.T) {
	for _, fault := range []struct {
		name        string
		begin, over func(*testenv.RedisServer) error
	}{
		{"killed", (*testenv.RedisServer).Kill, (*testenv.RedisServer).Start},
		{"hanging", (*testenv.RedisServer).Pause, (*testenv.RedisServer).Resume},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			server := testenv.Redis(t)
			var log bytes.Buffer
			metrics := NewMetrics(nil)
			l := NewLogins(serviceClient(t, server.Addr()), 1, slog.New(slog.NewTextHandler(&log, nil)), metrics)
			ctx := context.Background()
			eventually(t, "the limit refuses", func() bool { ok, _ := l.Allow(ctx, address); return !ok })
			before := testutil.ToFloat64(metrics.open) // a busy machine may have been slow

			if err := fault.begin(server); err != nil {
				t.Fatal(err)
			}
			log.Reset()
			l.said.Store(0)
			for i := range 10 {
				begin := time.Now()
				if ok, _ := l.Allow(ctx, address); !ok {
					t.Errorf("login %d refused without Redis", i)
				}
				if took := time.Since(begin); took > 10*time.Second { // go-redis's own timeouts take longer
					t.Errorf("login %d waited %v", i, took)
				}
			}
			if n := testutil.ToFloat64(metrics.open) - before; n != 10 {
				t.Errorf("%v counted as uncounted, want 10", n)
			}
			if n := strings.Count(log.String(), "level=WARN"); n < 1 || n > 2 { // one a minute
				t.Errorf("%d warnings of ten, want 1:\n%s", n, log.String())
			}
			if strings.Contains(log.String(), address) {
				t.Errorf("an address is in the log:\n%s", log.String())
			}

			if err := fault.over(server); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the limit refuses again", func() bool { ok, _ := l.Allow(ctx, address); return !ok })
		})
	}
}

// Clients that hang up are no sign of a sick Redis: they open no breaker and so switch no limit off.
func TestHangingUpDoesNotLiftTheLimit(t *testing.T) {
	l := NewLogins(testenv.Redis(t).Client(t), 1, discard, NewMetrics(nil))
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for range 500 {
		l.Allow(gone, address)
	}
	l.Allow(context.Background(), address)
	for i := range 20 {
		if ok, _ := l.Allow(context.Background(), address); ok {
			t.Errorf("login %d let in", i)
		}
	}
}

func TestUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		u, err := NewUsers(1, 3, NewMetrics(reg))
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, id := range []int64{1, 1, 1, 1, 1, 2, 1} {
			got += fmt.Sprintf("%d:%v ", id, u.Allow(id))
		}
		if want := "1:true 1:true 1:true 1:false 1:false 2:true 1:false "; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		want := "# HELP shares_limit_refused_total Requests refused by a rate limit.\n# TYPE shares_limit_refused_total counter\n" +
			`shares_limit_refused_total{limit="user"} 3` + "\n"
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_limit_refused_total"); err != nil {
			t.Error(err)
		}
		eventually(t, "a second gives one more", func() bool { return u.Allow(1) })
	})
}

// Requests of a new user that come all at once share one limiter.
func TestUsersConcurrently(t *testing.T) {
	u, err := NewUsers(1, 5, NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	var admitted atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range 40 {
		wg.Go(func() {
			<-begin
			if u.Allow(1) {
				admitted.Add(1)
			}
		})
	}
	start := time.Now()
	close(begin)
	wg.Wait()
	if n, most := admitted.Load(), 6+int64(time.Since(start).Seconds()); n < 5 || n > most {
		t.Errorf("%d of 40 admitted, want 5", n)
	}
}

func TestOff(t *testing.T) {
	for range 10_000 {
		if ok, _ := (OffLogins{}).Allow(context.Background(), address); !ok {
			t.Fatal("a login refused")
		}
		if !(OffUsers{}).Allow(1) {
			t.Fatal("a user refused")
		}
	}
}

// eventually waits for a condition that must come true within a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
