package batch

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// works is what a Batcher's function does with its batches: they wait until they may end.
type works struct {
	mu            sync.Mutex
	lengths       []int
	done          map[int]int
	running, high int
	gate          chan struct{}
}

func newWorks() *works { return &works{done: map[int]int{}, gate: make(chan struct{})} }

func (w *works) do(things []int) {
	w.mu.Lock()
	w.running++
	w.high = max(w.high, w.running)
	w.lengths = append(w.lengths, len(things))
	w.mu.Unlock()
	<-w.gate
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	for _, thing := range things {
		w.done[thing]++
	}
}

// Whoever comes while there is a place goes alone and at once; the others go together, and nobody is left behind or done twice.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const few, longest, things = 2, 10, 25
		w := newWorks()
		b := New(few, 10*few, longest, w.do)
		for thing := range few {
			b.Add(thing)
			synctest.Wait() // it is under way
		}
		for thing := range things {
			b.Add(few + thing)
		}
		synctest.Wait()
		if got := b.Waiting(); got != things {
			t.Errorf("%d wait, want %d", got, things)
		}
		time.Sleep(Patience / 2) // they are quick
		close(w.gate)
		synctest.Wait()

		if w.high != few {
			t.Errorf("%d batches at once, want %d", w.high, few)
		}
		slices.Sort(w.lengths)
		if want := []int{1, 1, 5, 10, 10}; !slices.Equal(w.lengths, want) {
			t.Errorf("batches of %v, want %v", w.lengths, want)
		}
		for thing := range few + things {
			if w.done[thing] != 1 {
				t.Errorf("%d was done %d times", thing, w.done[thing])
			}
		}
		time.Sleep(time.Second) // whatever was to be started late has been
		// The places are free again.
		b.Add(-1)
		synctest.Wait()
		if b.Waiting() != 0 || b.running != 0 || w.done[-1] != 1 {
			t.Errorf("afterwards %d wait, %d run, done %d times", b.Waiting(), b.running, w.done[-1])
		}
	})
}

// While batches are stuck, others are started beside them, one after each Patience, up to a limit.
func TestNobodyWaitsForWhatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 8
		w := newWorks()
		b := New(1, most, 100, w.do)
		b.Add(0)
		synctest.Wait()
		for thing := range 2 * most {
			b.Add(1 + 2*thing)
			b.Add(2 + 2*thing)
			synctest.Wait()
			if got, want := w.running, min(thing+1, most); got != want {
				t.Fatalf("%d batches are under way after %d, want %d", got, thing, want)
			}
			time.Sleep(Patience)
		}
		if w.lengths[1] < 2 {
			t.Errorf("batches of %v, want those that waited to go together", w.lengths)
		}
		if b.Waiting() == 0 {
			t.Error("there is no limit")
		}
		close(w.gate)
		synctest.Wait()
		if n := len(w.done); n != 1+4*most || b.Waiting() != 0 {
			t.Errorf("%d things were done, %d wait", n, b.Waiting())
		}
	})
}

// Nor do those who were too many for the next batch, though nobody comes after them.
func TestNobodyWaitsForWhatIsStuckBehindAFullBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks()
		b := New(1, 8, 10, w.do)
		b.Add(0)
		synctest.Wait()
		b.Add(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)
		time.Sleep(4 * Patience)
		synctest.Wait()
		if b.Waiting() != 0 || w.running != 4 {
			t.Errorf("%d wait beside %d stuck batches, want none beside 4", b.Waiting(), w.running)
		}
		close(w.gate)
		synctest.Wait()
	})
}
