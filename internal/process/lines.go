package process

import (
	"bufio"
	"io"
	"sync/atomic"
	"time"
)

// linesWaiting is how many lines wait for a slow log before more are dropped.
const linesWaiting = 4096

// Lines is a writer that hands lines on from its own goroutine, because a log that is not read
// would block every request. Lines that wait together are written together. Its methods are safe
// for concurrent use.
type Lines struct {
	out     *bufio.Writer
	waiting chan []byte
	close   chan struct{}
	closed  chan struct{}
	dropped atomic.Uint64
}

// NewLines returns a Lines to out. Close it before the program ends.
func NewLines(out io.Writer) *Lines {
	l := &Lines{
		out:     bufio.NewWriterSize(out, 64<<10),
		waiting: make(chan []byte, linesWaiting),
		close:   make(chan struct{}),
		closed:  make(chan struct{}),
	}
	go l.run()
	return l
}

// Write takes one or more whole lines and never waits: lines for which there is no room are
// dropped and counted. It always returns len(p) and no error.
func (l *Lines) Write(p []byte) (int, error) {
	select {
	case l.waiting <- append([]byte(nil), p...):
	default:
		l.dropped.Add(1)
	}
	return len(p), nil
}

// Dropped returns how many writes were dropped.
func (l *Lines) Dropped() uint64 { return l.dropped.Load() }

// Close writes what waits, for at most limit. It must be called once; later writes are lost.
func (l *Lines) Close(limit time.Duration) {
	close(l.close)
	select {
	case <-l.closed:
	case <-time.After(limit):
	}
}

func (l *Lines) run() {
	defer close(l.closed)
	for {
		select {
		case line := <-l.waiting:
			_, _ = l.out.Write(line) // an error of the log has nowhere to go
			if len(l.waiting) == 0 {
				_ = l.out.Flush()
			}
		case <-l.close:
			for len(l.waiting) > 0 {
				_, _ = l.out.Write(<-l.waiting)
			}
			_ = l.out.Flush()
			return
		}
	}
}
