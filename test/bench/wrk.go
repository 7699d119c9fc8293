package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// load describes one run of wrk.
type load struct {
	path   string
	body   string
	token  string        // of the Authorization header; empty: none
	values string        // file with one value per line; the next one replaces the @@@ in body or token
	pause  time.Duration // between an answer and the connection's next request, on average; 0: none

	refusals    float64 // the allowed share of answers other than 2xx
	connections int
	duration    time.Duration // in whole seconds
}

// answers are the results of one run.
type answers struct {
	requests int
	rate     float64 // a second
	p50, p99 time.Duration
}

//go:embed load.lua
var script string

// wrk runs a load on the server at address. More refusals than allowed are an error, because a
// refusal costs less than an answer.
func wrk(ctx context.Context, dir, address string, l load) (answers, error) {
	file := filepath.Join(dir, "load.lua")
	settings := fmt.Sprintf("local body, token, values, pause = %q, %q, %q, %d\n",
		l.body, l.token, l.values, l.pause.Milliseconds())
	if err := os.WriteFile(file, []byte(settings+script), 0o600); err != nil {
		return answers{}, err
	}
	// One thread: the generator must not take both cores.
	cmd := exec.CommandContext(ctx, "wrk", "-t", "1", "-c", strconv.Itoa(l.connections),
		"-d", strconv.Itoa(int(l.duration/time.Second))+"s", "--timeout", "10s", "-s", file, "http://"+address+l.path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return answers{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	_, result, ok := strings.Cut(string(out), "RESULT ")
	var a answers
	var failed int
	var took, p50, p99 int64
	if ok {
		_, err = fmt.Sscan(result, &a.requests, &took, &failed, &p50, &p99)
	}
	if !ok || err != nil {
		return answers{}, fmt.Errorf("wrk: no result:\n%s", out)
	}
	if a.requests == 0 || float64(failed)/float64(a.requests) > l.refusals {
		return answers{}, fmt.Errorf("wrk: %d requests to %s, %d failed", a.requests, l.path, failed)
	}
	a.rate = float64(a.requests) * 1e6 / float64(took)
	a.p50, a.p99 = time.Duration(p50)*time.Microsecond, time.Duration(p99)*time.Microsecond
	return a, nil
}

func wrkVersion() (string, error) {
	path, err := exec.LookPath("wrk")
	if err != nil {
		return "", fmt.Errorf("wrk is not installed: tools/install.sh wrk")
	}
	out, _ := exec.Command(path, "-v").CombinedOutput() // prints its usage and exits with 1
	line, _, _ := strings.Cut(string(out), "\n")
	line, _, _ = strings.Cut(line, " Copyright")
	return line, nil
}
