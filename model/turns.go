package model

import (
	"context"
	"hash/maphash"
)

// turns lets one caller per key go on at a time. Keys share a fixed number of locks, so that nothing grows with the keys.
type turns struct {
	seed  maphash.Seed
	locks [64]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.locks {
		t.locks[i] = make(chan struct{}, 1)
	}
	return t
}

// lock waits for the key's turn until ctx ends, and returns ctx's error then.
func (t *turns) lock(ctx context.Context, key string) (unlock func(), err error) {
	l := t.locks[maphash.String(t.seed, key)%uint64(len(t.locks))]
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
