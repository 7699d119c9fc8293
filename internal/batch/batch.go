// Package batch has done together what is asked for at the same moment: what costs a round trip each, to a database or to Redis, costs
// hardly more for fifty. Any room may use it.
package batch

import (
	"runtime"
	"sync"
	"time"
)

// Patience is how long those under way may take before one more batch is started beside them.
const Patience = 10 * time.Millisecond

// Batcher hands what it is given to a function, in batches. What comes while few are under way goes at once; what comes later goes
// together, in the next batch. So it is load that makes batches longer, and with them each thing cheaper; nothing waits for company.
// Nor does it wait for what has got stuck, a statement on a locked row or a connection to nowhere: where batches take longer than
// Patience, there are more of them.
type Batcher[T any] struct {
	do      func([]T)
	few     int
	most    int
	longest int

	mu      sync.Mutex
	waiting []T
	running int
	started time.Time   // the last batch
	late    *time.Timer // starts one more; nil while nothing waits for that
}

// New returns a Batcher that calls do for batches of at least one and at most longest things: few of them at once as long as they are quick,
// and never more than most. do must not panic; it tells whoever waits for a thing that it is done, or was not.
func New[T any](few, most, longest int, do func([]T)) *Batcher[T] {
	return &Batcher[T]{do: do, few: few, most: most, longest: longest}
}

// Add has things done, and does not wait for that.
func (b *Batcher[T]) Add(things ...T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, things...)
	if len(things) > 0 {
		b.start()
	}
}

// Waiting returns how many things wait for a batch.
func (b *Batcher[T]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// start starts a batch, now or when its time has come. It is called with mu held.
func (b *Batcher[T]) start() {
	wait := Patience - time.Since(b.started)
	switch {
	case b.running < b.few, wait <= 0 && b.running < b.most:
		b.running++
		b.started = time.Now()
		go b.run()
	case b.running < b.most && b.late == nil:
		b.late = time.AfterFunc(wait, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.late = nil
			if len(b.waiting) > 0 {
				b.start()
			}
		})
	}
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
	b.started = time.Now()
	n := len(b.waiting)
	if n == 0 {
		b.running--
		return nil
	}
	if n <= b.longest {
		things := b.waiting
		b.waiting = nil
		return things
	}
	things := b.waiting[:b.longest:b.longest]
	b.waiting = b.waiting[b.longest:]
	b.start() // they need not wait for these
	return things
}
