// Package batch has done together what is asked for at the same moment: what costs a round trip each, to a database or to Redis, costs
// hardly more for fifty. Any room may use it.
package batch

import (
	"runtime"
	"sync"
)

// Batcher hands what it is given to a function, in batches. Nothing waits for company: while fewer than the allowed batches are under
// way, each thing makes a batch of its own at once, and only what comes while all are under way goes together, in the next. So it is
// load that makes batches longer, and with them each thing cheaper.
type Batcher[T any] struct {
	do      func([]T)
	atOnce  int
	longest int

	mu      sync.Mutex
	running int
	waiting []T
}

// New returns a Batcher that calls do for at most atOnce batches at once, each of at least one and at most longest things. do must not
// panic; it tells whoever waits for a thing that it is done, or was not.
func New[T any](atOnce, longest int, do func([]T)) *Batcher[T] {
	return &Batcher[T]{do: do, atOnce: atOnce, longest: longest}
}

// Add has thing done, and does not wait for that.
func (b *Batcher[T]) Add(thing T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, thing)
	if b.running < b.atOnce {
		b.running++
		go b.run()
	}
}

// Waiting returns how many things wait for a batch.
func (b *Batcher[T]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// run does batches as long as somebody waits.
func (b *Batcher[T]) run() {
	// What was waiting for the same batch comes back at the same moment: without a pause, the first of them would go alone.
	runtime.Gosched()
	for things := b.next(); things != nil; things = b.next() {
		b.do(things)
	}
}

// next takes a batch off those who wait. When nobody does, it gives the place for a batch back, and returns nil.
func (b *Batcher[T]) next() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch n := len(b.waiting); {
	case n == 0:
		b.running--
		return nil
	case n <= b.longest:
		things := b.waiting
		b.waiting = nil
		return things
	default:
		things := b.waiting[:b.longest:b.longest]
		b.waiting = b.waiting[b.longest:]
		return things
	}
}
