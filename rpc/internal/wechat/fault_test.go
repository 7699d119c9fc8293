package wechat

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"shares/simulator"
)

// faultPaths are where an operation can meet a fault. UnlimitedCode stands for all that need a token.
func faultPaths(op operation) []string {
	if op.name == "UnlimitedCode" {
		return []string{op.path, stablePath}
	}
	return []string{op.path}
}

// suffer makes one call that meets the fault, and one after it.
func suffer(t *testing.T, op operation, path string, fault simulator.Fault, timeout time.Duration, want Kind) {
	w := newWorld(t, simulator.Options{})
	w.alice(w.client(nil))
	c := w.client(func(o *Options) { o.Timeout = timeout })
	w.sim.SetFault(path, fault)
	start := time.Now()
	err := op.do(t.Context(), w, c)
	if took := time.Since(start); took > 40*time.Second { // a WeChat that hangs takes a minute
		t.Errorf("%s, %s: took %v", fault.Kind, path, took)
	}
	if got := w.failed(err); got != want {
		t.Errorf("%s, %s: kind of %v is %v, want %v", fault.Kind, path, err, got, want)
	}
	w.sim.ClearFaults()
	if err := op.do(t.Context(), w, c); err != nil {
		w.failed(err)
		t.Errorf("%s, %s: call after the fault: %v", fault.Kind, path, err)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		fault simulator.Fault
		want  Kind
	}{
		{simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, Unavailable},
		{simulator.Fault{Kind: simulator.FaultServerError, Status: 500}, Unavailable},
		{simulator.Fault{Kind: simulator.FaultServerError, Status: 503}, Unavailable},
		{simulator.Fault{Kind: simulator.FaultReset}, Unavailable},
		{simulator.Fault{Kind: simulator.FaultHTML}, BadAnswer},
		{simulator.Fault{Kind: simulator.FaultEmptyJSON}, BadAnswer},
		{simulator.Fault{Kind: simulator.FaultTruncated}, BadAnswer},
		{simulator.Fault{Kind: simulator.FaultEmpty}, BadAnswer},
		{simulator.Fault{Kind: simulator.FaultCutBody}, BadAnswer},
		{simulator.Fault{Kind: simulator.FaultHuge}, BadAnswer},
	} {
		for _, op := range operations() {
			for _, path := range faultPaths(op) {
				t.Run(fmt.Sprint(tc.fault.Kind, tc.fault.Status, "/", op.name, path), func(t *testing.T) {
					t.Parallel()
					suffer(t, op, path, tc.fault, 30*time.Second, tc.want)
				})
			}
		}
	}
}

func TestHangingWeChat(t *testing.T) {
	var wg sync.WaitGroup // all at once, since they do nothing but wait
	defer wg.Wait()
	for _, kind := range []simulator.FaultKind{simulator.FaultDelay, simulator.FaultSlowBody} {
		for _, op := range operations() {
			for _, path := range faultPaths(op) {
				wg.Go(func() { suffer(t, op, path, simulator.Fault{Kind: kind, Delay: time.Minute}, 5*time.Second, Deadline) })
			}
		}
	}
}

func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		op    int
		fault simulator.Fault
		want  int // calls
	}{
		{0, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, 1},
		{0, simulator.Fault{Kind: simulator.FaultServerError}, 1},
		{1, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, 2},
		{1, simulator.Fault{Kind: simulator.FaultServerError}, 2},
		{1, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 45009}, 1},
		{1, simulator.Fault{Kind: simulator.FaultReset}, 1},
		{1, simulator.Fault{Kind: simulator.FaultHTML}, 1},
		{2, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, 1},
		{2, simulator.Fault{Kind: simulator.FaultServerError}, 1},
		{3, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, 2},
		{3, simulator.Fault{Kind: simulator.FaultServerError}, 2},
		{4, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1}, 1},
	} {
		op := operations()[tc.op]
		t.Run(fmt.Sprint(op.name, "/", tc.fault.Kind, tc.fault.Errcode), func(t *testing.T) {
			w := newWorld(t, simulator.Options{})
			c := w.client(nil)
			w.alice(c)
			before := w.calls(op.path)
			tc.fault.Times = 1
			w.sim.SetFault(op.path, tc.fault)
			err := op.do(t.Context(), w, c)
			if succeeded := err == nil; succeeded != (tc.want == 2) {
				t.Errorf("one fault, then health: %v", err)
			}
			if err != nil {
				w.failed(err)
			}
			if n := w.calls(op.path) - before; n != tc.want {
				t.Errorf("%d calls, want %d", n, tc.want)
			}
		})
	}
}
