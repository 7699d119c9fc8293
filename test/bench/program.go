package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"shares/internal/testenv"
	"shares/test/traffic"
)

// program is one running server. Its output goes to a file, as under a service manager. The file is
// truncated between runs.
type program struct {
	*testenv.Process
	admin string // host:port of readiness and metrics
	log   string
	ready time.Duration // between its start and its readiness
}

// start runs a program and returns when its /readyz answers 200.
func start(dir, name, admin string, env map[string]string, path string, args ...string) (*program, error) {
	log := filepath.Join(dir, name+".log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	all := []string{"PATH=" + os.Getenv("PATH")}
	for key, value := range env {
		all = append(all, key+"="+value)
	}
	p := &program{admin: admin, log: log}
	p.Process = testenv.NewProcess(testenv.Program{Path: path, Args: args, Dir: dir, Env: all, Log: out})
	began := time.Now()
	if err := p.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < time.Minute {
		if resp, err := http.Get("http://" + admin + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.ready = time.Since(began)
				return p, nil
			}
		}
		select {
		case <-p.Done():
			return nil, fmt.Errorf("%s ended at start:\n%s", name, p.printed())
		case <-time.After(time.Millisecond):
		}
	}
	return nil, errors.Join(fmt.Errorf("%s is not ready after a minute:\n%s", name, p.printed()), p.Stop())
}

func (p *program) printed() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-4<<10):])
}

func (p *program) forget() error { return os.Truncate(p.log, 0) }

type usage struct {
	cpu    time.Duration // user and system
	allocs float64
}

func total(programs []*program) (usage, error) {
	var sum usage
	for _, p := range programs {
		cpu, err := p.cpu()
		if err != nil {
			return sum, err
		}
		resp, err := http.Get("http://" + p.admin + "/metrics")
		if err != nil {
			return sum, err
		}
		page, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return sum, err
		}
		allocs, err := traffic.Metric(string(page), "go_memstats_mallocs_total ")
		if err != nil {
			return sum, err
		}
		sum.cpu += cpu
		sum.allocs += allocs
	}
	return sum, nil
}

// clockTick is the unit of /proc's CPU times: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

func (p *program) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
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
