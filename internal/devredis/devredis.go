// Package devredis is the Redis inside the process: what `shares serve` uses when no Redis is configured. It lives as long as
// the process, keeps everything in memory and listens on a loopback port of its own, so that the rest of the program talks to it
// exactly as it talks to a real one. Only main may start it, and never in production.
package devredis

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	// tick is how often keys are aged, and so the error of an expiry: a key may go up to one tick too early (it was set just
	// before a tick) or too late (its time came just after one).
	tick = 25 * time.Millisecond

	// rest bounds the share of the time that ageing may take to about 1/rest: miniredis walks over all keys under its lock.
	// With very many keys the ticks grow longer instead of the commands slower.
	rest = 20
)

// Server is a running in-process Redis.
type Server struct {
	mini *miniredis.Miniredis
	addr string
	stop chan struct{}
	done sync.WaitGroup
	once sync.Once
}

// Start starts an empty server on a free port of 127.0.0.1. Close it after use.
func Start() (*Server, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("devredis: listen: %w", err)
	}
	s := &Server{mini: mini, addr: mini.Addr(), stop: make(chan struct{})}
	s.done.Go(s.age)
	return s, nil
}

// Addr returns the address as "127.0.0.1:port".
func (s *Server) Addr() string { return s.addr }

// Close stops the server and forgets its data. It may be called more than once.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		s.done.Wait()
		s.mini.Close()
	})
}

// age lets the keys' time pass. miniredis has no clock of its own that would do (its ClockTTL walks over all keys at every single
// command), so what really passed since the last tick is taken off every key; a late tick therefore adds up to nothing.
func (s *Server) age() {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		now := time.Now()
		s.mini.FastForward(now.Sub(last))
		last = now
		timer.Reset(max(tick, rest*time.Since(now)))
	}
}
