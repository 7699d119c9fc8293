package process

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// batches is a writer that remembers each write.
type batches struct {
	mu  sync.Mutex
	all []string
}

func (b *batches) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, string(p))
	return len(p), nil
}

func (b *batches) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.all...)
}

func TestLines(t *testing.T) {
	for _, tt := range []struct {
		name   string
		do     func(l *Lines)
		writes int // within the time that do took
	}{
		{"a line waits for others", func(l *Lines) { line(l, 1); time.Sleep(linesWait / 2) }, 0},
		{"not longer than promised", func(l *Lines) { line(l, 3); time.Sleep(linesWait + time.Millisecond) }, 1},
		{"much does not wait", func(l *Lines) { line(l, linesBatch/7+1); time.Sleep(time.Millisecond) }, 1},
		{"nor what is urgent", func(l *Lines) { line(l, 2); l.Hurry(); time.Sleep(time.Millisecond) }, 1},
		{"again and again", func(l *Lines) {
			for range 3 {
				line(l, 1)
				time.Sleep(2 * linesWait)
			}
		}, 3},
		{"after the end at once", func(l *Lines) { l.Close(); line(l, 2) }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out batches
				l := NewLines(&out)
				n := 0
				tt.do(l)
				synctest.Wait()
				if got := len(out.seen()); got != tt.writes {
					t.Errorf("%d writes, want %d", got, tt.writes)
				}
				n = strings.Count(strings.Join(out.seen(), ""), "\n")
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if rest := strings.Join(out.seen(), ""); tt.writes == 0 && strings.Count(rest, "\n") <= n {
					t.Error("lost at the end")
				}
				if l.Dropped() != 0 {
					t.Errorf("%d dropped", l.Dropped())
				}
			})
		})
	}
}

func line(w io.Writer, n int) {
	for range n {
		_, _ = io.WriteString(w, "a line\n")
	}
}

// Whoever logs is not held up by a log that nobody reads; what does not fit is
// counted, and what was taken comes out whole and in order.
func TestLinesBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		var out bytes.Buffer
		l := NewLines(writer(func(p []byte) (int, error) { <-open; return out.Write(p) }))
		const each = 1000
		written := 0
		for l.Dropped() == 0 {
			fmt.Fprintf(l, "%0*d\n", each-1, written)
			written++
		}
		if written < linesMost/each || written > 3*linesMost/each {
			t.Errorf("dropped after %d KB", written)
		}
		close(open)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for i := range written - 1 { // the last was dropped
			text, err := out.ReadString('\n')
			if got, _ := strconv.Atoi(strings.TrimSpace(text)); err != nil || got != i {
				t.Fatalf("line %d: %d, %v", i, got, err)
			}
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// Warnings and errors do not wait, with the lines that came before them.
func TestLoggerHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out batches
		l := NewLines(&out)
		defer l.Close() // never fails
		log := slog.New(hurried(slog.NewJSONHandler(l, nil), l)).With("component", "test").WithGroup("g")
		log.Info("request")
		time.Sleep(time.Millisecond)
		if got := out.seen(); len(got) != 0 {
			t.Errorf("written at once: %q", got)
		}
		log.Warn("trouble")
		time.Sleep(time.Millisecond)
		if got := strings.Join(out.seen(), ""); !strings.Contains(got, `"request"`) || !strings.Contains(got, `"trouble"`) {
			t.Errorf("written: %q", got)
		}
	})
}
