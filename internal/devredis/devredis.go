// Package devredis is the Redis inside the process: what `shares serve` uses when no Redis is
// configured. It keeps everything in memory and listens on a loopback port of its own, so that the
// rest of the program talks to it exactly as it talks to a real one. Only internal/app may start it,
// and never in production.
package devredis

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	// tick is how often keys are aged, and so the error of an expiry: a key may go up to one tick
	// too early (it was set just before a tick) or too late (its time came just after one).
	tick = 25 * time.Millisecond

	// rest bounds the share of the time that ageing may take to about 1/rest: miniredis walks over
	// all keys under its lock. With very many keys the ticks grow longer instead of the commands
	// slower.
	rest = 20
)

// Start starts an empty server on a free port of 127.0.0.1 and returns its address. stop ends it.
func Start() (address string, stop func(), err error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, fmt.Errorf("devredis: listen: %w", err)
	}
	stopped := make(chan struct{})
	var ageing sync.WaitGroup
	ageing.Go(func() { age(mini, stopped) })
	return mini.Addr(), func() { close(stopped); ageing.Wait(); mini.Close() }, nil
}

// age lets the keys' time pass. miniredis has no clock of its own that would do (its ClockTTL walks
// over all keys at every single command), so the time since the last tick is taken off every key,
// and a late tick adds up to nothing.
func age(mini *miniredis.Miniredis, stopped <-chan struct{}) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-stopped:
			return
		case <-timer.C:
		}
		now := time.Now()
		mini.FastForward(now.Sub(last))
		last = now
		timer.Reset(max(tick, rest*time.Since(now)))
	}
}
