package process

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Headroom is the garbage that a serving process lets come together before it
// collects, in bytes. What is in use is small, and the collector by itself lets
// as much garbage come together as is in use: it would run a dozen times a
// second under load, for a tenth of all CPU time.
const Headroom = 64 << 20

// GiveHeadroom has the garbage collector wait for headroom bytes of garbage, or
// for half of what is in use where that is more; by itself it waits for as much
// as is in use. So the heap is large where it would be tiny and does not double
// where it is large, and GOMEMLIMIT is obeyed. Where GOGC says something else
// than its default, it does nothing. stop leaves the collector as it was found.
func GiveHeadroom(headroom uint64) (stop func() error) {
	found := debug.SetGCPercent(defaultPercent)
	if found != defaultPercent {
		debug.SetGCPercent(found)
		return func() error { return nil }
	}
	ends := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(headroomEvery)
		defer tick.Stop()
		percent := defaultPercent
		for {
			// Each change stops the world for some microseconds: not for little.
			if want := gcPercent(liveHeap(), headroom); want*10 > percent*11 || want*11 < percent*10 {
				debug.SetGCPercent(want)
				percent = want
			}
			select {
			case <-ends:
				debug.SetGCPercent(found)
				return
			case <-tick.C:
			}
		}
	})
	return func() error { close(ends); done.Wait(); return nil }
}

const (
	defaultPercent = 100
	leastPercent   = 50

	// headroomEvery is how often what is in use is looked at: soon enough that a
	// heap which grows fast is not given the room of a small one for long.
	headroomEvery = 200 * time.Millisecond
)

// gcPercent is the GOGC that makes headroom of what is in use, within bounds.
func gcPercent(live, headroom uint64) int {
	const smallest = 4 << 20 // the heap at which the collector first runs, at the default
	return int(max(leastPercent, 100*headroom/max(live, smallest)))
}

// liveHeap is what the last collection found in use, in bytes; 0 before the
// first.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
