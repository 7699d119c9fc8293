package batch

import (
	"sync"
	"testing"
	"testing/synctest"
)

// Whoever comes while there is a place goes alone and at once; the others go together, and nobody is left behind or done twice.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const atOnce, longest, things = 2, 10, 25
		var mu sync.Mutex
		var lengths []int
		done := map[int]int{}
		var running, most int
		gate := make(chan struct{})
		b := New(atOnce, longest, func(batch []int) {
			mu.Lock()
			running++
			most = max(most, running)
			lengths = append(lengths, len(batch))
			mu.Unlock()
			<-gate
			mu.Lock()
			defer mu.Unlock()
			running--
			for _, thing := range batch {
				done[thing]++
			}
		})
		for thing := range atOnce {
			b.Add(thing)
			synctest.Wait() // it is under way
		}
		for thing := range things {
			b.Add(atOnce + thing)
		}
		synctest.Wait()
		if got := b.Waiting(); got != things {
			t.Errorf("%d wait, want %d", got, things)
		}
		close(gate)
		synctest.Wait()

		if most != atOnce {
			t.Errorf("%d batches at once, want %d", most, atOnce)
		}
		sum, longestSeen := 0, 0
		for _, n := range lengths {
			sum, longestSeen = sum+n, max(longestSeen, n)
		}
		if len(lengths) != 5 || longestSeen != longest || sum != atOnce+things {
			t.Errorf("batches of %v, want two of one and then 10, 10, 5", lengths)
		}
		for thing := range atOnce + things {
			if done[thing] != 1 {
				t.Errorf("%d was done %d times", thing, done[thing])
			}
		}
		// The places are free again.
		b.Add(-1)
		synctest.Wait()
		if b.Waiting() != 0 || b.running != 0 || done[-1] != 1 {
			t.Errorf("afterwards %d wait, %d run, done %d times", b.Waiting(), b.running, done[-1])
		}
	})
}
