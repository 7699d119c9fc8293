package simulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// FaultKind is a kind of failure.
type FaultKind string

// The kinds of failures. All but FaultErrcode and FaultTextJSON simulate WeChat's proxy or the
// network.
const (
	// FaultDelay waits Delay, then answers normally.
	FaultDelay FaultKind = "delay"
	// FaultErrcode answers HTTP 200 with Errcode (default -1) in JSON, with the endpoint's content
	// type.
	FaultErrcode FaultKind = "errcode"
	// FaultTextJSON is FaultErrcode with content type text/plain.
	FaultTextJSON FaultKind = "text_json"
	// FaultServerError answers Status (default 502) with an HTML page.
	FaultServerError FaultKind = "server_error"
	// FaultHTML answers 200 with an HTML page.
	FaultHTML FaultKind = "html"
	// FaultEmptyJSON answers 200 with {}.
	FaultEmptyJSON FaultKind = "empty_json"
	// FaultTruncated makes the call and sends the first half of the body with a matching
	// Content-Length.
	FaultTruncated FaultKind = "truncated"
	// FaultEmpty makes the call and sends the headers with an empty body.
	FaultEmpty FaultKind = "empty"
	// FaultSlowBody makes the call, sends the headers and half of the body, and the rest after
	// Delay.
	FaultSlowBody FaultKind = "slow_body"
	// FaultCutBody makes the call, sends half of the announced bytes and closes the connection.
	FaultCutBody FaultKind = "cut_body"
	// FaultHuge answers 200 with 8 MiB and the right content type.
	FaultHuge FaultKind = "huge"
	// FaultReset closes the connection without an answer. Go's http.Transport may then repeat a GET
	// on a reused connection. The repetition counts for Calls and Times.
	FaultReset FaultKind = "reset"
)

// FaultKinds returns all kinds.
func FaultKinds() []FaultKind {
	return []FaultKind{
		FaultDelay, FaultErrcode, FaultTextJSON, FaultServerError, FaultHTML, FaultEmptyJSON,
		FaultTruncated, FaultEmpty, FaultSlowBody, FaultCutBody, FaultHuge, FaultReset,
	}
}

// Fault is a failure of calls.
type Fault struct {
	Kind FaultKind
	// Errcode is for FaultErrcode and FaultTextJSON; 0 means -1. Errmsg is its text without request
	// id; empty means WeChat's text.
	Errcode int
	Errmsg  string
	// Status is for FaultServerError, 500 to 599; 0 means 502.
	Status int
	// Delay is for FaultDelay and FaultSlowBody. With other kinds, the call waits that long and
	// then fails.
	Delay time.Duration
	// Times is the number of calls that fail; 0 means all calls until the fault is cleared.
	Times int
}

const (
	hugeBody = 8 << 20
	maxDelay = 10 * time.Minute
)

// check returns an error that names the invalid field.
func (f Fault) check() error {
	switch {
	case !slices.Contains(FaultKinds(), f.Kind):
		return fmt.Errorf("kind: must be one of %v", FaultKinds())
	case f.Status != 0 && (f.Status < 500 || f.Status > 599):
		return errors.New("status: must be 500 to 599")
	case f.Delay < 0 || f.Delay > maxDelay:
		return fmt.Errorf("delay: must be 0 to %v", maxDelay)
	case (f.Kind == FaultDelay || f.Kind == FaultSlowBody) && f.Delay == 0:
		return errors.New("delay: required")
	case f.Times < 0:
		return errors.New("times: must not be negative")
	}
	return nil
}

// allEndpoints is the key of a fault of all endpoints.
const allEndpoints = "*"

// SetFault sets the fault of one of Endpoints and replaces an earlier one. "" and "*" mean all
// endpoints; an endpoint's own fault takes precedence. SetFault panics if endpoint or fault are
// invalid, because only a test's code passes them.
func (s *Simulator) SetFault(endpoint string, f Fault) {
	if err := s.trySetFault(endpoint, f); err != nil {
		panic("simulator: SetFault: " + err.Error())
	}
}

func (s *Simulator) trySetFault(endpoint string, f Fault) error {
	endpoint = cmp.Or(endpoint, allEndpoints)
	if _, ok := s.endpoints[endpoint]; !ok && endpoint != allEndpoints {
		return fmt.Errorf("endpoint: must be one of %v", s.Endpoints())
	}
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[endpoint] = &f
	s.opts.Logger.Info("simulated WeChat: fault set", "endpoint", endpoint, "kind", string(f.Kind))
	return nil
}

// ClearFaults removes all faults. A delayed call keeps waiting.
func (s *Simulator) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

// Faults returns a new map of the active faults by endpoint, with "*" for all endpoints. Times is
// the number of remaining calls, or 0.
func (s *Simulator) Faults() map[string]Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := make(map[string]Fault, len(s.faults))
	for endpoint, f := range s.faults {
		faults[endpoint] = *f
	}
	return faults
}

// takeFault returns a copy of the fault for a call on path, and counts it. The caller holds the
// lock.
func (s *Simulator) takeFault(path string) *Fault {
	key := path
	f := s.faults[key]
	if f == nil {
		key = allEndpoints
		f = s.faults[key]
	}
	if f == nil {
		return nil
	}
	taken := *f
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			delete(s.faults, key)
		}
	}
	return &taken
}

// serveFault answers a call with a fault. do makes the real call.
func (s *Simulator) serveFault(w http.ResponseWriter, r *http.Request, f Fault, do func() answer) {
	e := s.endpoints[r.URL.Path]
	s.opts.Logger.Debug("simulated WeChat: fault", "endpoint", r.URL.Path, "kind", string(f.Kind))
	if f.Kind != FaultSlowBody && !wait(r.Context(), f.Delay) {
		return
	}
	switch f.Kind {
	case FaultDelay:
		do().write(w)
	case FaultErrcode, FaultTextJSON:
		code := errcode(cmp.Or(f.Errcode, -1))
		a := e.errorAnswer(code, cmp.Or(f.Errmsg, code.message(r.RemoteAddr)), s.opts.Now())
		if f.Kind == FaultTextJSON {
			a.contentType = typePlain
		}
		a.write(w)
	case FaultServerError:
		page(cmp.Or(f.Status, http.StatusBadGateway)).write(w)
	case FaultHTML:
		page(http.StatusOK).write(w)
	case FaultEmptyJSON:
		e.jsonAnswer(struct{}{}).write(w)
	case FaultTruncated:
		a := do()
		a.body = a.body[:len(a.body)/2]
		a.write(w)
	case FaultEmpty:
		a := do()
		a.body = nil
		a.write(w)
	case FaultSlowBody:
		do().writeHalves(w, func() bool { return wait(r.Context(), f.Delay) })
	case FaultCutBody:
		do().writeHalves(w, func() bool { return false })
		panic(http.ErrAbortHandler)
	case FaultHuge:
		writeHuge(w, do())
	case FaultReset:
		reset(w)
	}
}

// wait waits for d. It reports false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// writeHalves sends the headers and half of the body, and the rest if between returns true.
func (a answer) writeHalves(w http.ResponseWriter, between func() bool) {
	half := len(a.body) / 2
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	_, _ = w.Write(a.body[:half])
	_ = http.NewResponseController(w).Flush()
	if between() {
		_, _ = w.Write(a.body[half:])
	}
}

// writeHuge sends half of the answer and then blanks, up to hugeBody bytes.
func writeHuge(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", a.contentType)
	half := len(a.body) / 2
	if _, err := w.Write(a.body[:half]); err != nil {
		return
	}
	blanks := make([]byte, 64<<10)
	for i := range blanks {
		blanks[i] = ' '
	}
	for sent := half; sent < hugeBody; sent += len(blanks) {
		if _, err := w.Write(blanks); err != nil {
			return
		}
	}
}

func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
