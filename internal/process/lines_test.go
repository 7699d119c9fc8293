package process

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewLines(&out)
		for i := range 3 {
			fmt.Fprintf(l, "%d\n", i)
		}
		synctest.Wait()
		if got := out.String(); got != "0\n1\n2\n" {
			t.Errorf("written without waiting: %q", got)
		}
		fmt.Fprintln(l, "last")
		l.Close(time.Minute)
		if got := out.String(); !strings.HasSuffix(got, "last\n") {
			t.Errorf("written by Close: %q", got)
		}
		if got := l.Dropped(); got != 0 {
			t.Errorf("dropped: got %d, want 0", got)
		}
	})
}

// A log that is not read does not block its writers. Dropped lines are counted, the others come
// out whole and in order.
func TestLinesBlocked(t *testing.T) {
	open := make(chan struct{})
	var out bytes.Buffer
	l := NewLines(writer(func(p []byte) (int, error) { <-open; return out.Write(p) }))
	written := 0
	for ; l.Dropped() == 0; written++ {
		fmt.Fprintf(l, "%d\n", written)
	}
	if written < linesWaiting {
		t.Errorf("dropped after %d lines, want at least %d", written, linesWaiting)
	}
	close(open)
	l.Close(time.Minute)
	for i := range written - 1 { // the last was dropped
		text, err := out.ReadString('\n')
		if got, _ := strconv.Atoi(strings.TrimSpace(text)); err != nil || got != i {
			t.Fatalf("line %d: got %d, %v", i, got, err)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
<<<<<<< HEAD

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
=======
>>>>>>> 8fd48b6 (process: bound connections by memory; own the graceful shutdown)
