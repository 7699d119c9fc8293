package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// gate holds single commands up while it is shut, and counts what goes through.
type gate struct {
	shut      chan struct{} // closed when it opens
	held      atomic.Int64
	pipelines atomic.Int64
	longest   atomic.Int64 // commands in one pipeline
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		g.held.Add(1)
		<-g.shut
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if name := cmds[0].Name(); name != "get" && name != "evalsha" { // a new connection introduces itself
			return next(ctx, cmds)
		}
		g.pipelines.Add(1)
		g.longest.Store(max(g.longest.Load(), int64(len(cmds))))
		return next(ctx, cmds)
	}
}

// newTrips returns trips on a Redis that has "value <n>" under "key-<n>", with
// all their places taken until the gate is opened.
func newTrips(t *testing.T, keys int) (*trips, *gate, *sync.WaitGroup) {
	t.Helper()
	c := client(t, server(t).Addr())
	for n := range keys {
		if err := c.Set(t.Context(), fmt.Sprintf("key-%d", n), fmt.Sprintf("value %d", n), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	g := &gate{shut: make(chan struct{})}
	c.AddHook(g)
	tr := &trips{redis: c, timeout: 5 * time.Second}
	var alone sync.WaitGroup
	for range tripsAtOnce {
		alone.Go(func() {
			if value, err := tr.get(t.Context(), "key-0"); err != nil || value != "value 0" {
				t.Errorf("alone: %q, %v", value, err)
			}
		})
	}
	eventually(t, "all places taken", func() bool { return g.held.Load() == tripsAtOnce })
	return tr, g, &alone
}

// waitingFor waits until n commands wait.
func (t *trips) waitingFor(tb testing.TB, n int) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%d who wait", n), func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return len(t.waiting) == n
	})
}

func TestTripsGoTogether(t *testing.T) {
	const callers = 3*tripLength + 1
	tr, g, all := newTrips(t, callers)
	for n := range callers {
		all.Go(func() {
			if value, err := tr.get(t.Context(), fmt.Sprintf("key-%d", n)); err != nil || value != fmt.Sprintf("value %d", n) {
				t.Errorf("key-%d: %q, %v", n, value, err)
			}
		})
	}
	tr.waitingFor(t, callers)
	close(g.shut)
	all.Wait()
	if got := g.pipelines.Load(); got != 4 {
		t.Errorf("%d round trips", got)
	}
	if got := g.longest.Load(); got != tripLength {
		t.Errorf("%d commands in one", got)
	}
	eventually(t, "no trip under way", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.running == 0
	})
	// The places are free again.
	if value, err := tr.get(t.Context(), "key-1"); err != nil || value != "value 1" {
		t.Errorf("afterwards: %q, %v", value, err)
	}
}

// What becomes of one has nothing to do with the others of its trip.
func TestTripsAnswerEachByItself(t *testing.T) {
	tr, g, all := newTrips(t, 2)
	if err := client(t, tr.redis.(*redis.Client).Options().Addr).LPush(t.Context(), "list", 1).Err(); err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := tr.get(gone, "key-1")
		left <- err
	}()
	tr.waitingFor(t, 1)
	for name, call := range map[string]func() error{
		"value": func() error {
			value, err := tr.get(t.Context(), "key-1")
			if value != "value 1" {
				return fmt.Errorf("%q, %w", value, err)
			}
			return err
		},
		"no value": func() error {
			if _, err := tr.get(t.Context(), "none"); !errors.Is(err, redis.Nil) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		},
		"another kind": func() error {
			if _, err := tr.get(t.Context(), "list"); err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE") {
				return fmt.Errorf("got %w", err)
			}
			return nil
		},
		"a script that Redis does not have yet": func() error {
			answer, err := tr.script(t.Context(), redis.NewScript("return KEYS[1] .. ARGV[1]"), "key", "-argument")
			if answer != "key-argument" {
				return fmt.Errorf("%v, %w", answer, err)
			}
			return err
		},
	} {
		all.Go(func() {
			if err := call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	tr.waitingFor(t, 5)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	close(g.shut)
	all.Wait()
	if got := g.pipelines.Load(); got != 1 {
		t.Errorf("%d round trips", got)
	}
}
