package model

import (
	"context"
	"hash/maphash"
	"sync/atomic"
)

// turns lets one caller per key go on at a time. Keys share a fixed number of turns, so that nothing grows with the keys.
type turns struct {
	seed  maphash.Seed
	turns [64]turn
}

type turn struct {
	ended atomic.Uint64 // how many had it so far
	busy  chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.turns {
		t.turns[i].busy = make(chan struct{}, 1)
	}
	return t
}

// turn returns the one that key shares with others.
func (t *turns) turn(key string) *turn {
	return &t.turns[maphash.String(t.seed, key)%uint64(len(t.turns))]
}

// lock waits for the caller's turn until ctx ends, and returns ctx's error then.
func (t *turn) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case t.busy <- struct{}{}:
		return func() { t.ended.Add(1); <-t.busy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
