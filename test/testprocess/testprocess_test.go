package testprocess

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestServeStartsAndEnds(t *testing.T) {
	t.Parallel()
	p := Run(t, Options{Args: []string{"serve"}})
	resp, err := http.Get(p.URL() + "/shares/api/v1/nothing")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("status %d, want 404", resp.StatusCode)
	}
	if code, err := p.Term(); code != 0 || err != nil {
		t.Errorf("SIGTERM gave code %d, %v, want 0", code, err)
	}
	if _, err := net.Dial("tcp", p.Address()); err == nil {
		t.Error("the port is still open after the end")
	}
}

type failing struct {
	testing.TB
	logged string
}

func (*failing) Failed() bool { return true }

func (f *failing) Logf(format string, args ...any) { f.logged += fmt.Sprintf(format, args...) }

func TestFailedTestNamesTheLog(t *testing.T) {
	t.Parallel()
	p := Run(t, Options{Args: []string{"simulator", "--listen", "127.0.0.1:0"}})
	failed := &failing{TB: t}
	finish(failed, "shares simulator", p)
	before, file, _ := strings.Cut(failed.logged, ": ")
	if before != "shares simulator printed" {
		t.Fatalf("logged %q", failed.logged)
	}
	t.Cleanup(func() { os.Remove(file) })
	if log, err := os.ReadFile(file); err != nil || string(log) != p.Output() || len(log) == 0 {
		t.Errorf("%s holds %q, %v, want %q", file, log, err, p.Output())
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	_, err := Start(Options{Args: []string{"serve"}, Env: map[string]string{"SHARES_MODE": "pro"}, Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "MYSQL_DSN is required") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("got %v, want the exit code and the output", err)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	printed, code, err := Once(t.Context(), Options{Args: []string{"version"}})
	if err != nil || code != 0 || !strings.HasPrefix(printed, "shares ") {
		t.Errorf("got %q, %d, %v", printed, code, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Once(ctx, Options{Args: []string{"simulator", "--listen", "127.0.0.1:0"}}); err == nil {
		t.Error("no error for a program that does not end")
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("SHARES_MODE", "pro")
	if _, code, err := Once(t.Context(), Options{Args: []string{"migrate"}, Dir: t.TempDir()}); code != 0 || err != nil {
		t.Errorf("got %d, %v: want the caller's settings ignored", code, err)
	}
}
