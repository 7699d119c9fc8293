package process

import (
	"io"
	"sync"
	"time"
)

// Lines is a writer that hands lines on in batches, from a goroutine of its
// own: a system call for each request's line would be the most expensive thing
// that most requests do, and whoever does not read the log would hold up all of
// them. Its methods are safe for concurrent use.
type Lines struct {
	out   io.Writer
	some  chan struct{} // there is something to write
	now   chan struct{} // it must not wait for more
	stop  chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	waiting []byte
	dropped uint64
	closed  bool

	writing sync.Mutex // held over a write to out; taken before mu
	spare   []byte
}

const (
	// linesWait is the longest that a line waits for others.
	linesWait = 100 * time.Millisecond

	// linesBatch is when it waits no longer, linesMost when lines are dropped
	// since nobody takes them; in bytes.
	linesBatch = 64 << 10
	linesMost  = 1 << 20
)

// NewLines returns a Lines to out. Close it before the program ends.
func NewLines(out io.Writer) *Lines {
	l := &Lines{
		out:   out,
		some:  make(chan struct{}, 1),
		now:   make(chan struct{}, 1),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	go l.run()
	return l
}

// Write takes one or more whole lines. It never waits for the writer behind:
// of more than a megabyte that this has not taken yet, the newest lines are
// dropped and counted. It always returns len(p) and no error.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	if len(l.waiting)+len(p) > linesMost {
		l.dropped++
		l.mu.Unlock()
		return len(p), nil
	}
	before := len(l.waiting)
	l.waiting = append(l.waiting, p...)
	after, closed := len(l.waiting), l.closed
	l.mu.Unlock()
	switch {
	case closed: // nobody else writes any more
		l.flush()
	case before == 0:
		signal(l.some)
	case after >= linesBatch:
		signal(l.now)
	}
	return len(p), nil
}

// Hurry has what was written so far handed on without waiting for more.
func (l *Lines) Hurry() { signal(l.now) }

// Dropped returns how many writes were dropped.
func (l *Lines) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Close hands on what is left. What is written later goes through at once.
func (l *Lines) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if !closed {
		close(l.stop)
	}
	<-l.ended
	return nil
}

func (l *Lines) run() {
	defer close(l.ended)
	wait := time.NewTimer(linesWait)
	defer wait.Stop()
	for {
		select {
		case <-l.some:
			wait.Reset(linesWait)
			select {
			case <-wait.C:
			case <-l.now:
			case <-l.stop:
			}
		case <-l.now:
		case <-l.stop:
			l.flush()
			return
		}
		l.flush()
	}
}

// flush hands on all that is waiting. An error of a log has nowhere to go.
func (l *Lines) flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch := l.waiting
	l.waiting = l.spare[:0]
	l.mu.Unlock()
	if len(batch) > 0 {
		_, _ = l.out.Write(batch)
	}
	l.spare = batch
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
