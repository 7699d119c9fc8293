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

// A log that is not read does not block its writers. Dropped lines are counted, the others are
// written whole and in order.
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
