package process

import (
	"bufio"
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// linesWaiting is how many lines may wait for a slow log; more are dropped.
const linesWaiting = 4096

// Lines is a writer that passes lines on from its own goroutine, because a log that is not read
// would block every request. Waiting lines are written together. Its methods are safe for
// concurrent use.
type Lines struct {
	waiting chan []byte // nil is the last
	closed  chan struct{}
	dropped atomic.Uint64
}

// NewLines returns a Lines to out. Close it before the program ends.
func NewLines(out io.Writer) *Lines {
	l := &Lines{waiting: make(chan []byte, linesWaiting), closed: make(chan struct{})}
	go func() {
		defer close(l.closed)
		buffered := bufio.NewWriterSize(out, 64<<10)
		for line := range l.waiting {
			_, _ = buffered.Write(line) // there is nowhere to report an error of the log
			if len(l.waiting) == 0 || line == nil {
				_ = buffered.Flush()
			}
			if line == nil {
				return
			}
		}
	}()
	return l
}

// Write takes one or more whole lines and never blocks: it drops and counts lines for which there
// is no space. It always returns len(p) and no error.
func (l *Lines) Write(p []byte) (int, error) {
	select {
	case l.waiting <- bytes.Clone(p):
	default:
		l.dropped.Add(1)
	}
	return len(p), nil
}

// Dropped returns how many writes were dropped.
func (l *Lines) Dropped() uint64 { return l.dropped.Load() }

// Close writes the waiting lines, for at most limit. It must be called once; later writes are lost.
func (l *Lines) Close(limit time.Duration) {
	end := time.After(limit)
	select {
	case l.waiting <- nil:
		select {
		case <-l.closed:
		case <-end:
		}
	case <-end:
	}
}
