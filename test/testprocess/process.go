// Package testprocess builds the real `shares` program and runs it as separate processes, so that a
// suite sees what an operator sees: start lines, ports, signals, exit codes. The suites under test/
// use it; the service must not. Start and Once need no testing.TB and leave ending the process to
// the caller. Run ends it with the test and fails the test if the program ended badly. Storage
// comes from internal/testenv.
package testprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"shares/internal/testenv"
)

// deadlines are so long that programs on a busy machine do not reach them.
var deadlines = []string{
	"SHARES_TIMEOUT=60s", "SHARES_RPC_TIMEOUT=50s", "MYSQL_TIMEOUT=40s", "WECHAT_TIMEOUT=10s", "REDIS_TIMEOUT=5s",
	"SHARES_SHUTDOWN=90s",
}

// Options say which program to start and how.
type Options struct {
	// Args are the command line, such as "serve" or "simulator", "--listen", "127.0.0.1:0".
	Args []string
	// Env are the program's settings. The caller's own settings are not passed on. By default, the
	// program listens on a free port of 127.0.0.1 and has long deadlines.
	Env map[string]string
	// Shipped keeps the program's default deadlines.
	Shipped bool
	// Dir is the working folder, in which ./data is created. Empty means the caller's.
	Dir string
	// Secrets gets the program's output, unless it is nil.
	Secrets *Secrets
}

func (o Options) name() string { return "shares " + strings.Join(o.Args, " ") }

// Process is one running or ended program.
type Process struct{ *testenv.Process }

// announcement matches the start line of every serving program, as text or JSON.
var announcement = regexp.MustCompile(`(?:shares(?: rpc)? \S+|a simulated WeChat) on (?:http://)?([^\s"]+)[\s"]`)

// Start starts a serving program, and returns when it accepts connections. If the program ends
// before that, or is not ready within a minute, the error holds its output.
func Start(o Options) (*Process, error) {
	p, err := newProcess(o, announcement)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("testprocess: %s: %w", o.name(), err)
	}
	return p, nil
}

// Start starts the program, for the first time or again.
func (p *Process) Start() error {
	if err := p.Process.Start(); err != nil {
		return err
	}
	// `shares rpc` announces itself just before it listens.
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.Address())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.Done():
		default:
			if time.Now().Before(end) {
				continue
			}
		}
		return errors.Join(fmt.Errorf("does not listen: %w\n%s", err, p.Output()), p.Kill())
	}
}

// Once runs a program that ends, such as `shares migrate`, and returns its output and its exit
// code. The error says why it could not run to its end; it is killed when ctx ends.
func Once(ctx context.Context, o Options) (printed string, code int, err error) {
	p, err := newProcess(o, nil)
	if err != nil {
		return "", 0, err
	}
	if err := p.Process.Start(); err != nil {
		return "", 0, err
	}
	select {
	case <-p.Done():
		return p.Output(), p.ExitCode(), nil
	case <-ctx.Done():
		return p.Output(), 0, errors.Join(fmt.Errorf("testprocess: %s: %w", o.name(), ctx.Err()), p.Kill())
	}
}

func newProcess(o Options, ready *regexp.Regexp) (*Process, error) {
	path, err := Binary()
	if err != nil {
		return nil, err
	}
	var secrets io.Writer
	if o.Secrets != nil {
		secrets = o.Secrets.printed(o.name())
	}
	return &Process{testenv.NewProcess(testenv.Program{
		Path: path, Args: o.Args, Dir: o.Dir, Env: environment(o), Ready: ready, Print: secrets,
	})}, nil
}

func environment(o Options) []string {
	env := []string{
		"SHARES_HOST=127.0.0.1", "SHARES_PORT=0",
		"GORACE=atexit_sleep_ms=0", // by default the race detector delays the end by a second
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "GORACE", "GOCOVERDIR", "GOMAXPROCS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if !o.Shipped {
		env = append(env, deadlines...)
	}
	for name, value := range o.Env { // the last of equal names counts
		env = append(env, name+"="+value)
	}
	return env
}

// Run starts a serving program and ends it with the test. Its folder is temporary unless o names
// one. The test fails if the program then ends with a code other than 0, or printed a panic or a data
// race. If the test fails, its log names a file with the program's output.
func Run(t testing.TB, o Options) *Process {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	p, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, o.name(), p) })
	return p
}

func finish(t testing.TB, name string, p *Process) {
	t.Helper()
	select {
	case <-p.Done(): // the test ended it and checked how
	default:
		code, err := p.Term()
		if err != nil {
			t.Error(err)
		} else if code != 0 {
			t.Errorf("%s ended with code %d", name, code)
		}
	}
	printed := p.Output()
	for _, bad := range []string{"WARNING: DATA RACE", "panic"} {
		if strings.Contains(printed, bad) {
			t.Errorf("the output of %s contains %q", name, bad)
		}
	}
	if t.Failed() {
		t.Logf("%s printed: %s", name, testenv.SaveOutput(name, printed))
	}
}

// Address returns the host:port on which the program serves.
func (p *Process) Address() string {
	// localhost may also mean ::1, but the program listens on only one of them.
	return strings.Replace(p.Announced(), "localhost:", "127.0.0.1:", 1)
}

// URL returns the http URL of Address, without a trailing slash.
func (p *Process) URL() string { return "http://" + p.Address() }

// Term ends the program with SIGTERM, waits for its end and returns its exit code. If the program
// ignores it, Term kills it after two minutes and returns an error.
func (p *Process) Term() (int, error) {
	if err := p.Stop(); err != nil {
		return 0, err
	}
	return p.ExitCode(), nil
}
