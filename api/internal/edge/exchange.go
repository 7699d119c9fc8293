package edge

import (
	"context"
	"net/http"
	"sync"
	"time"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/requestid"
)

// exchange is one request on its way to its answer: the context of all that is
// done for it, with a deadline and every value that the rooms behind the edge
// look for, and the recorder of its answer. It is one object, made for each
// request, where a context per value and a timer would be a dozen.
type exchange struct {
	deadline
	answer answer.Answer
	call   session.Call
	id     string
	idText [1]string // as a header's value
	rec    recorder
}

// begin returns the exchange of a request that has until end.
func (e *Edge) begin(w http.ResponseWriter, parent context.Context, id string, end time.Time) *exchange {
	return &exchange{
		deadline: deadline{parent: parent, at: end},
		answer:   answer.Answer{Writer: e.opts.Answers},
		id:       id,
		idText:   [1]string{id},
		rec:      recorder{ResponseWriter: w},
	}
}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	switch key.(type) {
	case session.Key:
		return &x.call
	case answer.Key:
		return &x.answer
	case requestid.Key:
		return &x.id
	}
	return x.deadline.Value(key)
}

// deadline is a context that ends at a time, as one of context.WithDeadline,
// but has its timer made when someone first waits for that: a request that is
// answered from memory waits for nothing.
type deadline struct {
	parent context.Context
	at     time.Time

	mu     sync.Mutex
	waited context.Context // nil until someone waits
	cancel context.CancelFunc
	ended  bool
}

// end releases what the context holds; from then on it is canceled.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.cancel != nil {
		d.cancel()
	}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.parent.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waited == nil {
		d.waited, d.cancel = context.WithDeadline(d.parent, d.at)
		if d.ended {
			d.cancel()
		}
	}
	return d.waited.Done()
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waited != nil {
		return d.waited.Err()
	}
	if err := d.parent.Err(); err != nil {
		return err
	}
	if !time.Now().Before(d.at) {
		return context.DeadlineExceeded
	}
	if d.ended {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context. What the context package itself looks for
// is in the context that someone waits for.
func (d *deadline) Value(key any) any {
	d.mu.Lock()
	waited := d.waited
	d.mu.Unlock()
	if waited != nil {
		return waited.Value(key)
	}
	return d.parent.Value(key)
}
