package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"shares/test/traffic"
)

// The namespaces of the suite.
const (
	namespace     = "shares"
	loadNamespace = "shares-load"
	devNamespace  = "shares-dev"
)

type suite struct {
	kubectl, loadImage, killNode string // commands
	beside, address              string
	dir                          string // for this run's files

	servers  []*server
	mysql    *server
	redis    *server
	keep     string // a node that stays; the loader runs on it
	victim   string // a node that is drained and killed
	secret   string // the current SESSION_SECRET
	results  []result
	releases int // number of releases so far
}

type row struct {
	name   string
	always bool // the other rows need it
	run    func(context.Context, *result) error
}

type result struct {
	name    string
	took    time.Duration
	load    *traffic.Stats // nil: no load
	note    string
	samples []string
	err     error
}

func (s *suite) print(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(t, "| what happens\t requests\t failed\t slowest\t lost writes\t stale\t took\t result\t")
	fmt.Fprintln(t, "|---\t---:\t---:\t---:\t---:\t---:\t---:\t---\t")
	for _, r := range s.results {
		requests, failed, slowest, lost, stale := "", "", "", "", ""
		if l := r.load; l != nil {
			requests, failed, lost, stale = fmt.Sprint(l.Requests), fmt.Sprint(l.Failed), fmt.Sprint(l.Lost), fmt.Sprint(l.Stale)
			slowest = l.Slowest.Round(time.Millisecond).String()
		}
		verdict := "ok"
		if r.err != nil {
			verdict = "FAILED"
		}
		if r.note != "" {
			verdict += ": " + r.note
		}
		fmt.Fprintf(t, "| %s\t %s\t %s\t %s\t %s\t %s\t %s\t %s\t\n", r.name, requests, failed, slowest, lost, stale, r.took.Round(time.Second), verdict)
	}
	_ = t.Flush() // to stdout
}

// shell returns a command from a shell's command line, with arguments added.
func shell(ctx context.Context, line string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", append([]string{"-c", line + ` "$@"`, "sh"}, args...)...)
}

// command runs a shell's command line and returns its stdout.
func command(ctx context.Context, stdin io.Reader, line string, args ...string) (string, error) {
	cmd := shell(ctx, line, args...)
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", line, strings.Join(args, " "), err, text[max(0, len(text)-1000):])
	}
	return stdout.String(), nil
}

func (s *suite) kube(ctx context.Context, args ...string) (string, error) {
	return command(ctx, nil, s.kubectl, args...)
}

func (s *suite) kubeIn(ctx context.Context, stdin string, args ...string) (string, error) {
	return command(ctx, strings.NewReader(stdin), s.kubectl, args...)
}

type pod struct {
	Metadata struct {
		Name              string
		DeletionTimestamp *time.Time
	}
	Spec struct {
		NodeName   string
		Containers []struct{ Image string }
	}
	Status struct {
		PodIP      string
		Conditions []struct {
			Type, Status       string
			LastTransitionTime time.Time
		}
	}
}

func (p pod) readySince() time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return c.LastTransitionTime
		}
	}
	return time.Time{}
}

// pods returns the pods of one component, including terminating ones.
func (s *suite) pods(ctx context.Context, component string) ([]pod, error) {
	out, err := s.kube(ctx, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component="+component, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []pod }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	return list.Items, nil
}

// running returns the pods of one component that are ready and not terminating.
func (s *suite) running(ctx context.Context, component string) ([]pod, error) {
	pods, err := s.pods(ctx, component)
	return slices.DeleteFunc(pods, func(p pod) bool {
		return p.Metadata.DeletionTimestamp != nil || p.readySince().IsZero()
	}), err
}

// until waits for a condition, at most for limit.
func until(ctx context.Context, limit time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		done, err := ok()
		if done && err == nil {
			return nil
		}
		if err != nil {
			last = err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited %s for %s", limit, what), last)
		}
	}
}

// settled waits until api and rpc have at least two ready pods each and no terminating ones.
func (s *suite) settled(ctx context.Context) error {
	return until(ctx, 10*time.Minute, "two ready pods of api and rpc, and no terminating ones", func() (bool, error) {
		for _, c := range []string{"api", "rpc"} {
			all, err := s.pods(ctx, c)
			if err != nil {
				return false, err
			}
			ready, err := s.running(ctx, c)
			if err != nil || len(ready) < 2 || len(ready) != len(all) {
				return false, err
			}
		}
		return true, nil
	})
}

func (s *suite) explain(ctx context.Context) {
	for _, args := range [][]string{
		{"-n", namespace, "get", "pods,jobs,hpa", "-o", "wide"},
		{"-n", namespace, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", namespace, "logs", "-l", "app.kubernetes.io/component in (api,rpc)", "--tail=8", "--prefix", "--since=3m", "--ignore-errors"},
	} {
		out, err := s.kube(ctx, args...)
		if err != nil {
			out += err.Error()
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range lines[max(0, len(lines)-25):] {
			fmt.Fprintf(os.Stderr, "          %.300s\n", line)
		}
	}
}

func (s *suite) file(name, content string) (string, error) {
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(content), 0o600)
}
