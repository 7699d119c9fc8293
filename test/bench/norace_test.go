//go:build !race

package main

import "testing"

// A tenth more allocations than recorded fails; a smaller number is to be recorded. The race
// detector adds its own: `make test` runs this without it.
func TestAllocations(t *testing.T) {
	handler, session := service(t)
	for _, e := range endpoints {
		t.Run(e.name, func(t *testing.T) {
			c := newCall(handler, e.name, session, e.body)
			c.do(t)
			// The cache's heartbeat is counted too: many runs are too short for one.
			least := testing.AllocsPerRun(10, func() { c.do(t) })
			for range 200 {
				least = min(least, testing.AllocsPerRun(10, func() { c.do(t) }))
			}
			if least > e.recorded*1.1 {
				t.Errorf("%.0f allocations, recorded are %.0f", least, e.recorded)
			}
			t.Logf("%.0f allocations", least)
		})
	}
}
