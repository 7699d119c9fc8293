package cache

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// tripsAtOnce is how many round trips are under way at once. Two keep Redis busy while the answers of one are being read.
	tripsAtOnce = 2

	// tripLength bounds the commands of one round trip.
	tripLength = 128
)

// trips sends commands to Redis. Those that come while enough round trips are under way go together in the next one: a system call
// for each command cost more than all else that a hit does (BenchmarkSharedHit). Whoever comes alone waits for nobody.
type trips struct {
	redis   redis.UniversalClient
	timeout time.Duration // of a round trip

	mu      sync.Mutex
	running int
	waiting []passenger
}

// passenger is a command that waits for its answer. It is its trip's alone until done is closed.
type passenger struct {
	redis.Cmder
	done chan struct{}
}

// do has cmd answered, and returns its error; or ctx's when that ends first, and then cmd must not be touched again.
func (t *trips) do(ctx context.Context, cmd redis.Cmder) error {
	t.mu.Lock()
	if t.running == tripsAtOnce {
		p := passenger{cmd, make(chan struct{})}
		t.waiting = append(t.waiting, p)
		t.mu.Unlock()
		select {
		case <-p.done:
			return cmd.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.running++
	t.mu.Unlock()
	err := t.redis.Process(ctx, cmd)
	if trip := t.next(); trip != nil {
		// Whoever came first may leave; the others' answers do not depend on that.
		go t.run(context.WithoutCancel(ctx), trip)
	}
	return err
}

// run makes a round trip, and more as long as somebody waits.
func (t *trips) run(ctx context.Context, trip []passenger) {
	for ; trip != nil; trip = t.next() {
		t.send(ctx, trip)
	}
}

// next takes those who go in the next round trip off those who wait. When nobody does, it gives the place for a trip back.
func (t *trips) next() []passenger {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.running--
		return nil
	}
	n := min(len(t.waiting), tripLength)
	trip := t.waiting[:n:n]
	t.waiting = slices.Clone(t.waiting[n:])
	return trip
}

// send makes one round trip.
func (t *trips) send(ctx context.Context, trip []passenger) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	pipe := t.redis.Pipeline()
	for _, p := range trip {
		_ = pipe.Process(ctx, p.Cmder) // only notes it
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, p := range trip {
		close(p.done)
	}
}

// get answers with the value of key, or redis.Nil.
func (t *trips) get(ctx context.Context, key string) (string, error) {
	cmd := redis.NewStringCmd(ctx, "get", key)
	if err := t.do(ctx, cmd); err != nil {
		return "", err
	}
	return cmd.Val(), nil
}

// script runs a script on one key, which Redis is given when it does not have it.
func (t *trips) script(ctx context.Context, s *redis.Script, key string, args ...any) (any, error) {
	cmd := redis.NewCmd(ctx, append([]any{"evalsha", s.Hash(), 1, key}, args...)...)
	err := t.do(ctx, cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		return s.Eval(ctx, t.redis, []string{key}, args...).Result()
	}
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}
