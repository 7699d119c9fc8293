package simulator

import "time"

// expiring is a map of bounded size whose entries expire. A new entry evicts expired entries, then
// the oldest. The average cost per call is constant if all entries live about equally long.
type expiring[V any] struct {
	max     int
	entries map[string]*expiringEntry[V]
	queue   []string // keys, oldest first: one per entry, and some of deleted entries
}

type expiringEntry[V any] struct {
	value  V
	ends   time.Time
	queued time.Time // the value of ends when the key was added to the queue
}

func newExpiring[V any](max int) *expiring[V] {
	return &expiring[V]{max: max, entries: map[string]*expiringEntry[V]{}}
}

// get returns a pointer to the live entry's value, or nil. The pointer is valid until the next put.
func (x *expiring[V]) get(key string, now time.Time) *V {
	e := x.entries[key]
	if e == nil || !now.Before(e.ends) {
		return nil
	}
	return &e.value
}

// put sets an entry and its end, and returns a pointer to its value.
func (x *expiring[V]) put(key string, value V, ends, now time.Time) *V {
	x.prune(now)
	e := x.entries[key]
	if e == nil {
		for len(x.entries) >= x.max {
			delete(x.entries, x.queue[0])
			x.queue = x.queue[1:]
		}
		e = &expiringEntry[V]{queued: ends}
		x.entries[key] = e
		x.queue = append(x.queue, key)
	}
	e.value, e.ends = value, ends
	return &e.value
}

func (x *expiring[V]) delete(key string) { delete(x.entries, key) }

// prune removes expired entries from the head of the queue. It moves entries that were prolonged in
// the meantime to the tail.
func (x *expiring[V]) prune(now time.Time) {
	for len(x.queue) > 0 {
		key := x.queue[0]
		e := x.entries[key]
		switch {
		case e == nil || !now.Before(e.ends):
			delete(x.entries, key)
		case !now.Before(e.queued):
			e.queued = e.ends
			x.queue = append(x.queue, key)
		default:
			return
		}
		x.queue = x.queue[1:]
	}
}

// quota counts calls in a window that starts with its first call.
type quota struct {
	until time.Time
	n     int
}

// take counts one call, or reports false if the window's limit is reached. A negative limit means
// none.
func (q *quota) take(now time.Time, window time.Duration, limit int) bool {
	if limit < 0 {
		return true
	}
	if !now.Before(q.until) {
		*q = quota{until: now.Add(window)}
	}
	if q.n >= limit {
		return false
	}
	q.n++
	return true
}
