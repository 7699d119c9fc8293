package contract_test

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// hang returns the address of a listener that accepts connections and never answers.
func hang(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// A process ends within SHARES_SHUTDOWN even if the trace collector hangs, with exit code 0 if
// every request was answered.
func TestShutdownHasALimit(t *testing.T) {
	t.Parallel()
	const limit = 12 * time.Second // the minimum for this SHARES_TIMEOUT
	for name, endpoint := range map[string]string{
		"the collector does not answer": hang(t),
		"no collector":                  "192.0.2.1:4317",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t, map[string]string{
				"SHARES_OTLP_ENDPOINT": endpoint, "SHARES_TRACE_SAMPLE": "1", "SHARES_SHUTDOWN": limit.String(),
				"SHARES_TIMEOUT": "5s", "SHARES_RPC_TIMEOUT": "4s", "MYSQL_TIMEOUT": "3s", "WECHAT_TIMEOUT": "3s",
			})
			s.post(t, getUserInfo, `{}`) // creates a trace
			start := time.Now()
			code, err := s.edge.Term()
			if err != nil {
				t.Fatal(err)
			}
			if code != 0 {
				t.Errorf("exit code: got %d, want 0", code)
			}
			if took := time.Since(start); took > limit+30*time.Second { // without the limit it takes a minute
				t.Errorf("ended after %s, want at most SHARES_SHUTDOWN (%s)", took, limit)
			}
		})
	}
}

// A graceful shutdown waits for an upload, the slowest kind of request.
func TestShutdownWaitsForAnUpload(t *testing.T) {
	t.Parallel()
	s := embedded(t, nil)
	finish := s.newUser(t).startUpload(t)
	if err := s.edge.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the listener closes", func() bool {
		conn, err := net.Dial("tcp", s.edge.Address())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	finish().ok(t)
	<-s.edge.Done()
	if code := s.edge.ExitCode(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
}

// A second signal ends the process without waiting for running requests.
func TestSecondSignalEndsImmediately(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := embedded(t, nil)
			s.newUser(t).startUpload(t)
			for ended := false; !ended; {
				if err := s.edge.Signal(signal); err != nil {
					t.Fatal(err)
				}
				select {
				case <-s.edge.Done():
					ended = true
				case <-time.After(100 * time.Millisecond):
				}
			}
			if code := s.edge.ExitCode(); code != -1 {
				t.Errorf("exit code: got %d, want -1 (ended by a signal)", code)
			}
		})
	}
}
