// Package devredis is an embedded Redis, which `shares serve` uses if no Redis is configured. It
// keeps all data in memory and listens on a loopback port, so the rest of the program uses it like
// a real one. Only internal/app may start it, and never in production.
package devredis

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	// tick is the time between two calls of FastForward. A key set just before a tick expires up to
	// one tick too early; a key whose time ends just after a tick expires up to one tick too late.
	tick = 25 * time.Millisecond

	// rest limits the time spent in FastForward, which visits all keys under miniredis's lock, to
	// about 1/rest. With very many keys the ticks become longer, instead of the commands slower.
	rest = 20
)

// Start starts an empty server on a free port of 127.0.0.1 and returns its address. stop stops it.
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

// age makes keys expire. miniredis's own clock, ClockTTL, visits all keys at each command. So age
// subtracts the time since the last tick from each key's life; late ticks cause no drift.
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
