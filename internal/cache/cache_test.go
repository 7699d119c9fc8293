package cache

import (
	"testing"
)

func TestSharedByReplicas(t *testing.T) {
	s, db := server(t), newDatabase()
	a, b := newReplica(t, s.Addr(), db), newReplica(t, s.Addr(), db)
	a.up(t)
	b.up(t)
	db.commit(1, 1)
	if got := version(t, a.shared, 1); got != 1 {
		t.Errorf("first read: version %d", got)
	}
	if got := version(t, b.shared, 1); got != 1 || db.count() != 1 {
		t.Errorf("the other replica's read: version %d after %d queries, want 1 after 1", got, db.count())
	}
	if err := a.write(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*replica{"writer": a, "other": b} {
		if got := version(t, r.shared, 1); got != 2 {
			t.Errorf("%s: version %d after the write", name, got)
		}
	}
	if got := db.count(); got != 2 {
		t.Errorf("%d queries, want 2", got)
	}
}
