package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"shares/internal/testenv/testos"
)

// program is one running server. What it prints goes to a file, as under a
// service manager, and the file is emptied between runs.
type program struct {
	cmd   *exec.Cmd
	admin string // host:port of readiness and metrics
	log   string
	ready time.Duration // from its start to its readiness
	done  chan struct{}
}

const startTimeout = 30 * time.Second

// start runs a program and returns once its /readyz says yes.
func start(dir, name, admin string, env map[string]string, path string, args ...string) (*program, error) {
	log := filepath.Join(dir, name+".log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &program{cmd: exec.Command(path, args...), admin: admin, log: log, done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for key, value := range maps.All(env) {
		p.cmd.Env = append(p.cmd.Env, key+"="+value)
	}
	p.cmd.SysProcAttr = testos.DieWithParent()
	began := time.Now()
	started := make(chan error, 1)
	go func() {
		// Linux sends the parent-death signal when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() // whoever needs the exit code asks for it
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	for time.Since(began) < startTimeout {
		if resp, err := http.Get("http://" + admin + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.ready = time.Since(began)
				return p, nil
			}
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended at its start:\n%s", name, p.printed())
		case <-time.After(time.Millisecond):
		}
	}
	return nil, errors.Join(fmt.Errorf("%s is not ready after %s:\n%s", name, startTimeout, p.printed()), p.stop())
}

func (p *program) printed() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-4<<10):])
}

// stop ends the program and waits for its end.
func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		if err := p.cmd.Process.Kill(); err != nil {
			return err
		}
		<-p.done
	}
	return nil
}

// forget empties the log.
func (p *program) forget() error { return os.Truncate(p.log, 0) }

// usage is what a program has used so far.
type usage struct {
	cpu    time.Duration // user and system
	allocs float64
}

// usage reads the program's counters.
func (p *program) usage() (usage, error) {
	cpu, err := p.cpu()
	if err != nil {
		return usage{}, err
	}
	allocs, err := p.metric("go_memstats_mallocs_total")
	return usage{cpu, allocs}, err
}

// clockTick is the unit of /proc's CPU times: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

func (p *program) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("/proc/…/stat is too short")
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick, err
}

// resident returns the program's resident memory, in bytes.
func (p *program) resident() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "VmRSS:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errors.New("/proc/…/status has no VmRSS")
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}

// metric returns the value of a metric without labels.
func (p *program) metric(name string) (float64, error) {
	resp, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 1<<20))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
