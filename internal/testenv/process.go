package testenv

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"shares/internal/testenv/testos"
)

const (
	readyTimeout = time.Minute     // for a cold, busy machine; a normal start takes less than a second
	stopTimeout  = 2 * time.Minute // above SHARES_SHUTDOWN
	outputKept   = 4 << 20         // bytes
)

// Program describes what a Process runs.
type Program struct {
	Path  string
	Args  []string
	Dir   string         // empty: the caller's
	Env   []string       // nil: the caller's
	Ready *regexp.Regexp // matches the output of a ready program; nil: Start does not wait
	Print io.Writer      // gets the output in addition to Output; may be nil
	Log   *os.File       // gets the output instead of Output and Ready; may be nil
}

// Process is a program that can be stopped and started again with the same arguments. Its methods
// are safe for concurrent use. On Linux it ends with this process at the latest.
type Process struct {
	program Program

	mu   sync.Mutex
	cmd  *exec.Cmd     // of the last start
	done chan struct{} // closed when cmd has been waited for
	out  *output
}

// NewProcess returns a process that is not started yet.
func NewProcess(p Program) *Process { return &Process{program: p} }

func (p *Process) name() string { return filepath.Base(p.program.Path) }

// Start runs the program and returns when it is ready. If the program ends before that, or is not
// ready within a minute, the error holds its output.
func (p *Process) Start() error {
	cmd := exec.Command(p.program.Path, p.program.Args...)
	cmd.Dir, cmd.Env = p.program.Dir, p.program.Env
	out := &output{want: p.program.Ready, found: make(chan struct{})}
	cmd.Stdout = out
	if p.program.Print != nil {
		cmd.Stdout = io.MultiWriter(out, p.program.Print)
	}
	if p.program.Log != nil {
		cmd.Stdout = p.program.Log
	}
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = testos.DieWithParent()
	done, err := p.launch(cmd, out)
	if err != nil || p.program.Ready == nil {
		return err
	}
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case <-out.found:
		return nil
	case <-done:
		return fmt.Errorf("%s ended at start (%s):\n%s", p.name(), cmd.ProcessState, p.Output())
	case <-timeout.C:
		return errors.Join(fmt.Errorf("%s not ready after %s:\n%s", p.name(), readyTimeout, p.Output()), p.Kill())
	}
}

func (p *Process) launch(cmd *exec.Cmd, out *output) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil, fmt.Errorf("%s runs already", p.name())
	}
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		// Linux sends the parent-death signal when the forking thread ends, so that thread must
		// live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // ExitCode returns the result
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name(), err)
	}
	p.cmd, p.done, p.out = cmd, done, out
	return done, nil
}

// running must be called with mu held.
func (p *Process) running() bool {
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

// Pid returns the process id of the last start.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Memory returns the program's resident memory in bytes.
func (p *Process) Memory() (int64, error) {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(p.Pid())).Output()
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.name(), err)
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10, err
}

// Done returns a channel that is closed when the program of the last start has ended.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// ExitCode waits for the program to end and returns its exit code, -1 after a signal.
func (p *Process) ExitCode() int {
	<-p.Done()
	return p.cmd.ProcessState.ExitCode()
}

// Output returns the program's stdout and stderr since its last start. Of more than 4 MiB the start
// may be missing.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return ""
	}
	return p.out.String()
}

// Announced returns what the first group of Ready matched at the last start.
func (p *Process) Announced() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.announced
}

// Signal sends sig. It does nothing if the program has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", sig, p.name(), err)
	}
	return nil
}

// Pause stops the program with SIGSTOP and returns when all its threads have stopped. The kernel
// still accepts connections, but nothing answers them.
func (p *Process) Pause() error {
	if err := p.Signal(testos.Stop); err != nil {
		return err
	}
	return testos.WaitStopped(p.Pid())
}

// Resume continues a paused program (SIGCONT).
func (p *Process) Resume() error { return p.Signal(testos.Continue) }

// Kill ends the program with SIGKILL, like a crash or a lost machine, and waits for its end. It
// does nothing if the program has ended or was never started.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop ends the program with SIGTERM, even if it is paused, and waits for its end. After two
// minutes it kills the program and returns an error.
func (p *Process) Stop() error {
	return errors.Join(p.Resume(), p.end(syscall.SIGTERM))
}

func (p *Process) end(sig syscall.Signal) error {
	if p.Done() == nil {
		return nil
	}
	if err := p.Signal(sig); err != nil {
		return err
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.Done():
		return nil
	case <-timeout.C:
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.Done()
	return fmt.Errorf("%s did not end within %s of %s and was killed", p.name(), stopTimeout, sig)
}

// output keeps the end of a program's output and searches it for want.
type output struct {
	want      *regexp.Regexp // nil once found, or if nothing is wanted
	announced string         // the first group of the match; read after found is closed
	found     chan struct{}

	mu  sync.Mutex
	buf []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if o.want != nil {
		if match := o.want.FindSubmatch(o.buf); match != nil {
			o.announced = string(match[len(match)-1])
			o.want = nil
			close(o.found)
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

// SaveOutput writes a program's output to a new file, so that test logs can name it instead of
// holding it. It returns the file's name, or an error's text.
func SaveOutput(program, printed string) string {
	folder := filepath.Join(os.TempDir(), "shares-test-logs")
	err := os.MkdirAll(folder, 0o755)
	if err != nil {
		return err.Error()
	}
	f, err := os.CreateTemp(folder, strings.ReplaceAll(program, " ", "-")+"-*.log")
	if err != nil {
		return err.Error()
	}
	_, err = f.WriteString(printed)
	if err := errors.Join(err, f.Close()); err != nil {
		return err.Error()
	}
	return f.Name()
}
