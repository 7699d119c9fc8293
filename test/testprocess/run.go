package testprocess

import (
	"strings"
	"testing"

	"shares/internal/testenv"
)

// Run starts a program that serves, in a folder of the test's own unless o names one, and ends it
// with the test. The test fails when the program then ends with a code other than 0 or reported a
// data race. When the test fails, its log names a file with what the program printed.
func Run(t testing.TB, o Options) *Process {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	p, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, strings.Join(o.Args, " "), p) })
	return p
}

func finish(t testing.TB, name string, p *Process) {
	t.Helper()
	select {
	case <-p.done: // the test ended it and knows how
	default:
		code, err := p.Term()
		if err != nil {
			t.Error(err)
		} else if code != 0 {
			t.Errorf("shares %s ended with code %d", name, code)
		}
	}
	printed := p.Output()
	if strings.Contains(printed, "WARNING: DATA RACE") {
		t.Errorf("shares %s has a data race", name)
	}
	if t.Failed() {
		t.Logf("shares %s printed: %s", name, testenv.SaveLog("shares-"+p.cmd.Args[1], printed))
	}
}
