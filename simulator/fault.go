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

// FaultKind names a way to fail.
type FaultKind string

// The ways to fail. All but FaultErrcode and FaultTextJSON are about what WeChat's front and the network do.
const (
	// FaultDelay waits Delay, then answers as if nothing were wrong.
	FaultDelay FaultKind = "delay"
	// FaultErrcode answers HTTP 200 with Errcode (default -1) in JSON, the content type being the endpoint's own.
	FaultErrcode FaultKind = "errcode"
	// FaultTextJSON is FaultErrcode with content type text/plain.
	FaultTextJSON FaultKind = "text_json"
	// FaultServerError answers Status (default 502) with an HTML page.
	FaultServerError FaultKind = "server_error"
	// FaultHTML answers 200 with an HTML page.
	FaultHTML FaultKind = "html"
	// FaultEmptyJSON answers 200 with {}.
	FaultEmptyJSON FaultKind = "empty_json"
	// FaultTruncated does the call and sends the first half of its answer as if that were all: half an image, half a JSON.
	FaultTruncated FaultKind = "truncated"
	// FaultEmpty does the call and sends its headers with a body of no bytes.
	FaultEmpty FaultKind = "empty"
	// FaultSlowBody does the call, sends headers and the first half at once, and the rest after Delay.
	FaultSlowBody FaultKind = "slow_body"
	// FaultCutBody does the call, sends half of the announced bytes and closes the connection.
	FaultCutBody FaultKind = "cut_body"
	// FaultHuge answers 200 with 8 MiB of the right content type.
	FaultHuge FaultKind = "huge"
	// FaultReset closes the connection with no answer. A client may repeat a call then: Go's http.Transport does so by itself
	// for a GET on a connection that it used before, which Calls shows and which uses up Times.
	FaultReset FaultKind = "reset"
)

// FaultKinds returns all kinds.
func FaultKinds() []FaultKind {
	return []FaultKind{
		FaultDelay, FaultErrcode, FaultTextJSON, FaultServerError, FaultHTML, FaultEmptyJSON,
		FaultTruncated, FaultEmpty, FaultSlowBody, FaultCutBody, FaultHuge, FaultReset,
	}
}

// Fault is a failure that calls meet.
type Fault struct {
	Kind FaultKind
	// Errcode is for FaultErrcode and FaultTextJSON; 0 is -1. Errmsg is its text, without request id; empty is WeChat's own.
	Errcode int
	Errmsg  string
	// Status is for FaultServerError, 500 to 599; 0 is 502.
	Status int
	// Delay is for FaultDelay and FaultSlowBody; with any other kind the call waits that long before it fails.
	Delay time.Duration
	// Times is how many calls meet the fault; 0 is all until it is cleared.
	Times int
}

const (
	hugeBody = 8 << 20
	maxDelay = 10 * time.Minute
)

// check says what is wrong with a fault, naming the field.
func (f Fault) check() error {
	switch {
	case !slices.Contains(FaultKinds(), f.Kind):
		return fmt.Errorf("kind: none of %v", FaultKinds())
	case f.Status != 0 && (f.Status < 500 || f.Status > 599):
		return errors.New("status: not 500 to 599")
	case f.Delay < 0 || f.Delay > maxDelay:
		return fmt.Errorf("delay: not 0 to %v", maxDelay)
	case (f.Kind == FaultDelay || f.Kind == FaultSlowBody) && f.Delay == 0:
		return errors.New("delay: missing")
	case f.Times < 0:
		return errors.New("times: negative")
	}
	return nil
}

// allEndpoints is the key of a fault that every endpoint meets.
const allEndpoints = "*"

// SetFault switches a fault on for one of Endpoints, in place of an earlier one; "" and "*" mean all of them. An endpoint's
// own fault goes before that. It panics when endpoint or fault are not possible, since only a test's author can get that wrong.
func (s *Simulator) SetFault(endpoint string, f Fault) {
	if err := s.trySetFault(endpoint, f); err != nil {
		panic("simulator: SetFault: " + err.Error())
	}
}

func (s *Simulator) trySetFault(endpoint string, f Fault) error {
	endpoint = cmp.Or(endpoint, allEndpoints)
	if _, ok := s.endpoints[endpoint]; !ok && endpoint != allEndpoints {
		return fmt.Errorf("endpoint: none of %v", s.Endpoints())
	}
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[endpoint] = &f
	s.opts.Logger.Info("simulated WeChat fails on demand", "endpoint", endpoint, "kind", string(f.Kind))
	return nil
}

// ClearFaults ends all faults. A call that is waiting goes on waiting.
func (s *Simulator) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

// Faults returns the active faults by endpoint, "*" for all; Times counts what is left. The map is the caller's.
func (s *Simulator) Faults() map[string]Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := make(map[string]Fault, len(s.faults))
	for endpoint, f := range s.faults {
		faults[endpoint] = *f
	}
	return faults
}

// takeFault returns a copy of the fault that a call on that path meets, and counts it. The caller holds the lock.
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

// serveFault fails as told; do makes the call in earnest.
func (s *Simulator) serveFault(w http.ResponseWriter, r *http.Request, f Fault, do func() answer) {
	e := s.endpoints[r.URL.Path]
	s.opts.Logger.Debug("simulated WeChat fails on demand", "endpoint", r.URL.Path, "kind", string(f.Kind))
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

// wait waits, and reports false when the caller left first.
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

// writeHalves sends headers and half of the body, then, if between says so, the rest.
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

// writeHuge sends the answer's beginning and then blanks, until the client has had enough.
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

// reset ends the connection without an answer, by RST where it is TCP.
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
