package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"shares/internal/testenv/testos"
)

const (
	readyTimeout = 60 * time.Second // a cold, shared CI machine; a healthy start takes well under a second
	stopTimeout  = 20 * time.Second // after it, a server that ignores SIGTERM is killed
	logKept      = 64 << 10         // bytes of output kept per server
)

// process is one server program that can be ended and started again with the same arguments.
type process struct {
	path  string
	args  []string
	ready string // the output line fragment that says the server accepts connections

	mu   sync.Mutex // guards what follows; held across whole operations, so that Kill and Start do not interleave
	cmd  *exec.Cmd
	done chan struct{} // closed when the running cmd has been waited for
	out  *output
}

// start runs the program and returns when it says that it is ready.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("testenv: %s runs already", p.name())
	}

	cmd := exec.Command(p.path, p.args...)
	out := &output{want: p.ready, found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = testos.DieWithParent()
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		// Linux sends the parent-death signal when the thread that forked ends, so that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		cmd.Wait() // killed servers end with an error, as they should
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("testenv: start %s: %w", p.name(), err)
	}
	p.cmd, p.done, p.out = cmd, done, out

	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case <-out.found:
		return nil
	case <-done:
		return fmt.Errorf("testenv: %s ended at start (%s):\n%s", p.name(), cmd.ProcessState, out.tail())
	case <-timeout.C:
		p.end(syscall.SIGKILL) // the timeout is the error to report
		return fmt.Errorf("testenv: %s not ready after %s:\n%s", p.name(), readyTimeout, out.tail())
	}
}

func (p *process) name() string { return filepath.Base(p.path) }

// running must be called with mu held.
func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the program with SIGKILL, as a crash or a lost machine would, and waits until it is gone. It is no error if it is already.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end(syscall.SIGKILL)
}

// stop ends the program with SIGTERM, and with SIGKILL if it does not listen.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.signal(testos.Continue); err != nil { // a paused program would never see the SIGTERM
		return err
	}
	return p.end(syscall.SIGTERM)
}

func (p *process) end(sig syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := p.signal(sig); err != nil {
		return err
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
		return nil
	case <-timeout.C:
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return fmt.Errorf("testenv: %s did not end within %s of %s and was killed", p.name(), stopTimeout, sig)
}

// pause freezes the program, and returns when it stands still.
func (p *process) pause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signalRunning(testos.Stop); err != nil {
		return err
	}
	return testos.WaitStopped(p.cmd.Process.Pid)
}

// resume lets a paused program run on.
func (p *process) resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signalRunning(testos.Continue)
}

func (p *process) signalRunning(sig syscall.Signal) error {
	if !p.running() {
		return fmt.Errorf("testenv: %s does not run", p.name())
	}
	return p.signal(sig)
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("testenv: send %s to %s: %w", sig, p.name(), err)
	}
	return nil
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return ""
	}
	return p.out.tail()
}

// output keeps the end of what a program prints and tells when a wanted text has been printed.
type output struct {
	want  string
	found chan struct{}

	mu   sync.Mutex
	buf  []byte
	seen bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if !o.seen && strings.Contains(string(o.buf), o.want) {
		o.seen = true
		close(o.found)
	}
	if len(o.buf) > 2*logKept {
		o.buf = append(o.buf[:0], o.buf[len(o.buf)-logKept:]...)
	}
	return len(b), nil
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}
