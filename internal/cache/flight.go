package cache

import (
	"sync"
	"time"
)

// flights joins the concurrent reads of a key into one.
type flights struct {
	now func() time.Duration
	mu  sync.Mutex
	m   map[string]*flight
}

// flight is one read of one key. Its result may be read once done is closed.
type flight struct {
	started time.Duration
	done    chan struct{}

	answered bool // else whoever led it has left without a result
	row      []byte
	err      error
}

// join returns the flight of key, and whether the caller leads it and so has to land it. A flight that is older than blind is not
// joined: it may have read what was changed long before the caller came.
func (fs *flights) join(key string) (f *flight, first bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	now := fs.now()
	if f, ok := fs.m[key]; ok && now-f.started < blind {
		return f, false
	}
	if fs.m == nil {
		fs.m = make(map[string]*flight)
	}
	f = &flight{started: now, done: make(chan struct{})}
	fs.m[key] = f
	return f, true
}

// forget makes later readers of keys start flights of their own.
func (fs *flights) forget(keys []string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, key := range keys {
		delete(fs.m, key)
	}
}

// land ends f, which its leader does once.
func (fs *flights) land(key string, f *flight) {
	fs.mu.Lock()
	if fs.m[key] == f {
		delete(fs.m, key)
	}
	fs.mu.Unlock()
	if !f.answered {
		close(f.done)
	}
}

// answer gives all that joined their result.
func (f *flight) answer(row []byte, err error) {
	f.answered, f.row, f.err = true, row, err
	close(f.done)
}

// deliver copies the result into val.
func (f *flight) deliver(val any) error {
	if f.err != nil {
		return f.err
	}
	return decode(f.row, val)
}
