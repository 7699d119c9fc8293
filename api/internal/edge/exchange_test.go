package edge

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks a deadline, and in whichever order, is told what a context of
// the standard library would tell.
func TestContextDeadline(t *testing.T) {
	for _, tt := range []struct {
		name   string
		parent time.Duration // until its own deadline; 0: none
		events func(d *deadline, cancelParent context.CancelFunc)
		want   error
	}{
		{"in time", 0, func(*deadline, context.CancelFunc) {}, nil},
		{"too late", 0, func(*deadline, context.CancelFunc) { time.Sleep(2 * time.Second) }, context.DeadlineExceeded},
		{"just too late", 0, func(*deadline, context.CancelFunc) { time.Sleep(time.Second) }, context.DeadlineExceeded},
		{"the client has gone", 0, func(_ *deadline, cancel context.CancelFunc) { cancel() }, context.Canceled},
		{"answered", 0, func(d *deadline, _ context.CancelFunc) { d.end() }, context.Canceled},
		{"the parent's comes first", 500 * time.Millisecond, func(*deadline, context.CancelFunc) { time.Sleep(700 * time.Millisecond) }, context.DeadlineExceeded},
	} {
		for _, waited := range []string{"never", "before", "after", "by a child"} {
			t.Run(tt.name+", waited for "+waited, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancel(t.Context())
					defer cancel()
					if tt.parent > 0 {
						parent, cancel = context.WithTimeout(parent, tt.parent)
						defer cancel()
					}
					d := &deadline{parent: parent, at: time.Now().Add(time.Second)}
					defer d.end()
					like, end := context.WithDeadline(parent, d.at)
					defer end()
					want, _ := like.Deadline()
					if at, ok := d.Deadline(); !ok || !at.Equal(want) {
						t.Errorf("deadline %v, %v, want %v", at, ok, want)
					}

					var of context.Context = d
					switch waited {
					case "before":
						d.Done()
					case "by a child":
						child, cancel := context.WithCancel(d)
						defer cancel()
						of = child
					}
					tt.events(d, cancel)
					synctest.Wait()
					if waited == "after" {
						d.Done()
						synctest.Wait()
					}
					if err := of.Err(); !errors.Is(err, tt.want) || err == nil != (tt.want == nil) {
						t.Errorf("%v, want %v", err, tt.want)
					}
					if waited == "never" {
						return
					}
					select {
					case <-of.Done():
						if tt.want == nil {
							t.Error("done")
						}
					default:
						if tt.want != nil {
							t.Error("not done")
						}
					}
				})
			})
		}
	}
}

type otherKey struct{}

// Values of the request's own context, the server's among them, are seen
// before and after someone has waited.
func TestContextValue(t *testing.T) {
	d := &deadline{parent: context.WithValue(t.Context(), otherKey{}, "value"), at: time.Now().Add(time.Minute)}
	defer d.end()
	for range 2 {
		if got := d.Value(otherKey{}); got != "value" {
			t.Errorf("%v", got)
		}
		d.Done()
	}
}
