package testprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"shares/internal/testenv/testos"
)

const (
	readyTimeout = 60 * time.Second // a cold, shared CI machine; a healthy start takes well under a second
	termTimeout  = 2 * time.Minute  // above SHARES_SHUTDOWN
	outputKept   = 4 << 20          // bytes
)

// deadlines are so long that a program does not reach them because the machine is busy.
var deadlines = []string{
	"SHARES_TIMEOUT=60s", "SHARES_RPC_TIMEOUT=50s", "MYSQL_TIMEOUT=40s", "WECHAT_TIMEOUT=10s", "REDIS_TIMEOUT=5s",
	"SHARES_SHUTDOWN=90s",
}

// Options say which program to start and how.
type Options struct {
	// Args are the command line, such as "serve" or "simulator", "--listen", "127.0.0.1:0".
	Args []string
	// Env are the program's settings. Nothing of the caller's environment that could be one gets through. Unless they say
	// otherwise, the program listens on a free port of 127.0.0.1 and has long deadlines.
	Env map[string]string
	// Shipped keeps the deadlines that the program is shipped with.
	Shipped bool
	// Dir is the working folder, and so where ./data is made; empty is the caller's.
	Dir string
	// Secrets gets all that the program prints; nil is nobody.
	Secrets *Secrets
}

// Process is one running or ended program. Its methods are safe for concurrent use.
type Process struct {
	cmd     *exec.Cmd
	out     *output
	done    chan struct{} // closed when the program has ended and been waited for
	address string
}

// Start starts a program that serves, and returns when it accepts connections. A program that ends before that, or is not ready
// within a minute, is an error that carries what it printed.
func Start(o Options) (*Process, error) {
	p, err := start(o)
	if err != nil {
		return nil, err
	}
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case p.address = <-p.out.announced:
	case <-p.done:
		return nil, fmt.Errorf("testprocess: shares %s ended at start with code %d:\n%s", strings.Join(o.Args, " "), p.ExitCode(), p.Output())
	case <-timeout.C:
		return nil, errors.Join(fmt.Errorf("testprocess: shares %s not ready after %s:\n%s", strings.Join(o.Args, " "), readyTimeout, p.Output()), p.Kill())
	}
	// `shares rpc` announces itself just before it listens.
	for {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			return p, conn.Close()
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("testprocess: shares %s ended at start with code %d:\n%s", strings.Join(o.Args, " "), p.ExitCode(), p.Output())
		case <-timeout.C:
			return nil, errors.Join(fmt.Errorf("testprocess: shares %s does not listen: %w\n%s", strings.Join(o.Args, " "), err, p.Output()), p.Kill())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Once runs a program that does its work and ends, such as `shares migrate`, and returns what it printed and its exit code. The
// error says that it could not be run to its end; ctx ends it by force.
func Once(ctx context.Context, o Options) (printed string, code int, err error) {
	p, err := start(o)
	if err != nil {
		return "", 0, err
	}
	select {
	case <-p.done:
		return p.Output(), p.ExitCode(), nil
	case <-ctx.Done():
		return p.Output(), 0, errors.Join(fmt.Errorf("testprocess: shares %s: %w", strings.Join(o.Args, " "), ctx.Err()), p.Kill())
	}
}

func start(o Options) (*Process, error) {
	path, err := Binary()
	if err != nil {
		return nil, err
	}
	p := &Process{
		cmd:  exec.Command(path, o.Args...),
		out:  &output{announced: make(chan string, 1)},
		done: make(chan struct{}),
	}
	p.cmd.Dir = o.Dir
	p.cmd.Env = environment(o)
	var printed io.Writer = p.out
	if o.Secrets != nil {
		printed = io.MultiWriter(p.out, o.Secrets.printed("shares "+strings.Join(o.Args, " ")))
	}
	p.cmd.Stdout, p.cmd.Stderr = printed, printed
	p.cmd.SysProcAttr = testos.DieWithParent()
	started := make(chan error, 1)
	go func() {
		// Linux sends the parent-death signal when the thread that forked ends, so that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() // the exit code tells
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("testprocess: start shares %s: %w", strings.Join(o.Args, " "), err)
	}
	return p, nil
}

func environment(o Options) []string {
	env := []string{
		"SHARES_HOST=127.0.0.1", "SHARES_PORT=0",
		"GORACE=atexit_sleep_ms=0", // by default the race detector keeps an ending program for a second
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "GORACE", "GOCOVERDIR", "GOMAXPROCS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if !o.Shipped {
		env = append(env, deadlines...)
	}
	for name, value := range o.Env { // of two equal names the last counts
		env = append(env, name+"="+value)
	}
	return env
}

// Address returns the host:port on which the program serves.
func (p *Process) Address() string { return p.address }

// URL returns the http URL of Address, without a trailing slash.
func (p *Process) URL() string { return "http://" + p.address }

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode returns what the program ended with, -1 after a signal. It waits for the end.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the program with SIGKILL, as a crash or a lost machine would, and waits until it is gone. It is no error if it is already.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Term ends the program with SIGTERM, waits until it is gone and returns its exit code. A program that does not listen is killed
// after a minute; that is an error.
func (p *Process) Term() (int, error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	timeout := time.NewTimer(termTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
		return p.ExitCode(), nil
	case <-timeout.C:
		return 0, errors.Join(fmt.Errorf("testprocess: not gone %s after SIGTERM, killed", termTimeout), p.Kill())
	}
}

// Signal sends sig. It is no error if the program is gone.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("testprocess: send %s: %w", sig, err)
	}
	return nil
}

// Output returns what the program printed, stdout and stderr together; of more than 4 MiB the end.
func (p *Process) Output() string { return p.out.String() }

// FreeAddress returns an address of 127.0.0.1 whose port was free a moment ago, for programs that must be told theirs, such as
// `shares rpc`. Another process can take it before the caller listens on it.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("testprocess: find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// announcement is the start line of every program that serves, for people or as JSON.
var announcement = regexp.MustCompile(`(?:shares(?: rpc)? \S+|a simulated WeChat) on (?:http://)?([^\s"]+)[\s"]`)

// output keeps what a program prints and finds the address on which it serves.
type output struct {
	announced chan string // one address, once

	mu    sync.Mutex
	buf   []byte
	found bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if !o.found {
		if m := announcement.FindSubmatch(o.buf); m != nil {
			o.found = true
			// The name may stand for ::1 too, and the program listens on one of them.
			o.announced <- strings.Replace(string(m[1]), "localhost:", "127.0.0.1:", 1)
		}
	}
	if len(o.buf) > 2*outputKept {
		o.buf = append(o.buf[:0], o.buf[len(o.buf)-outputKept:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}
