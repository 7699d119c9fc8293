package simulator

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestExpiring(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	x := newExpiring[int](3)
	x.put("a", 1, at(10), at(0))
	x.put("b", 2, at(10), at(0))
	x.put("a", 3, at(20), at(5)) // prolonged while at the head
	if x.get("a", at(9)) == nil || x.get("b", at(10)) != nil {
		t.Error("the entry expired too early or too late")
	}
	x.put("c", 4, at(30), at(15))
	if len(x.entries) != 2 || *x.get("a", at(19)) != 3 {
		t.Errorf("got %d entries after b has expired, want a and c", len(x.entries))
	}
	x.put("d", 5, at(30), at(16))
	x.put("e", 6, at(30), at(16))
	if len(x.entries) != 3 || x.get("a", at(16)) != nil || x.get("e", at(16)) == nil {
		t.Error("a full map does not evict its oldest entry")
	}
	x.delete("c")
	x.put("f", 7, at(30), at(16))
	if len(x.entries) != 3 || x.get("d", at(16)) == nil {
		t.Error("a deleted entry still counts for the bound")
	}
	x.put("g", 8, at(99), at(40))
	if len(x.entries) != 1 || len(x.queue) != 1 {
		t.Errorf("got %d entries and %d keys, want only the live one", len(x.entries), len(x.queue))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const bound = 100
	s := New(Options{MaxEntries: bound})
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := range 500 {
				user := strconv.Itoa(worker*500 + i)
				code := s.Code(user)
				s.PhoneCode(user)
				s.mu.Lock()
				_, _ = s.redeem(code, time.Now()) // the code may have been evicted
				s.mu.Unlock()
			}
		})
	}
	workers.Wait()
	for name, n := range map[string]int{
		"codes": len(s.codes.entries), "phones": len(s.phones.entries), "minutes": len(s.minutes.entries),
		"active": len(s.active.entries), "queue of codes": len(s.codes.queue), "queue of users": len(s.active.queue),
	} {
		if n > bound || n == 0 {
			t.Errorf("%s: got %d entries, want 1 to %d", name, n, bound)
		}
	}
}
