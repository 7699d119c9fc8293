package wechat

import (
	"fmt"
	"testing"
	"time"

	"shares/simulator"
)

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		fault simulator.Fault
		want  Kind
	}{
		{simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute}, Deadline},
		{simulator.Fault{Kind: simulator.FaultSlowBody, Delay: time.Minute}, Deadline},
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
			paths := []string{op.path}
			if op.name == "UnlimitedCode" { // it stands for all that need a token
				paths = append(paths, stablePath)
			}
			for _, path := range paths {
				t.Run(fmt.Sprint(tc.fault.Kind, tc.fault.Status, "/", op.name, path), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, simulator.Options{})
					w.alice(w.client(nil))
					timeout := 5 * time.Second
					if tc.want == Deadline {
						timeout = 500 * time.Millisecond
					}
					c := w.client(func(o *Options) { o.Timeout = timeout })
					w.sim.SetFault(path, tc.fault)
					start := time.Now()
					err := op.do(t.Context(), w, c)
					if took := time.Since(start); took > timeout+2*time.Second {
						t.Errorf("took %v", took)
					}
					if got := w.failed(err); got != tc.want {
						t.Errorf("kind of %v is %v, want %v", err, got, tc.want)
					}
					w.sim.ClearFaults()
					if err := op.do(t.Context(), w, c); err != nil {
						t.Errorf("call after the fault: %v", err)
					}
				})
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
