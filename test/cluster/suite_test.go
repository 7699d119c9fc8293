//go:build cluster

package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
	*testing.T
	row *traffic.Row // the current one

	kubectl, loadImage, killNode string // commands
	beside, address              string
	dir                          string // for this run's files

	servers   []*server
	mysql     *server
	redis     *server
	keep      string // a node that stays; the loader runs on it
	victim    string // a node that is drained and killed
	secret    string // the current SESSION_SECRET
	installed *traffic.Row
	releases  int // number of releases so far
}

// shell returns a command from a shell's command line, with arguments added.
func shell(line string, args ...string) *exec.Cmd {
	return exec.Command("sh", append([]string{"-c", line + ` "$@"`, "sh"}, args...)...)
}

// command runs a shell's command line and returns its stdout.
func command(stdin io.Reader, line string, args ...string) (string, error) {
	cmd := shell(line, args...)
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", line, strings.Join(args, " "), err, text[max(0, len(text)-1000):])
	}
	return stdout.String(), nil
}

// run runs a command line that must succeed.
func (s *suite) run(line string, args ...string) string {
	s.Helper()
	out, err := command(nil, line, args...)
	s.check(err)
	return out
}

func (s *suite) try(args ...string) (string, error) { return command(nil, s.kubectl, args...) }

func (s *suite) kube(args ...string) string {
	s.Helper()
	return s.run(s.kubectl, args...)
}

// apply gives kubectl a manifest, which may be JSON.
func (s *suite) apply(manifest string) {
	s.Helper()
	_, err := command(strings.NewReader(manifest), s.kubectl, "apply", "-f", "-")
	s.check(err)
}

// post sends a body to a path of the API server.
func (s *suite) post(path, body string) error {
	_, err := command(strings.NewReader(body), s.kubectl, "create", "--raw", path, "-f", "-")
	return err
}

func (s *suite) file(name, content string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	s.check(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600))
	return path
}

func (s *suite) json(v any) string {
	s.Helper()
	text, err := json.Marshal(v)
	s.check(err)
	return string(text)
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
func (s *suite) pods(component string) []pod {
	s.Helper()
	var list struct{ Items []pod }
	out := s.kube("-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component="+component, "-o", "json")
	s.check(json.Unmarshal([]byte(out), &list))
	return list.Items
}

// running returns the pods of one component that are ready and not terminating.
func (s *suite) running(component string) []pod {
	s.Helper()
	return slices.DeleteFunc(s.pods(component), func(p pod) bool {
		return p.Metadata.DeletionTimestamp != nil || p.readySince().IsZero()
	})
}

// until waits until try returns nil, at most for limit.
func (s *suite) until(limit time.Duration, what string, try func() error) {
	s.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("waited %s for %s: %v", limit, what, err)
		}
	}
}

// settled waits until api and rpc have at least two ready pods each and no terminating ones.
func (s *suite) settled() {
	s.Helper()
	s.until(10*time.Minute, "two ready pods of api and rpc, and no terminating ones", func() error {
		for _, c := range []string{"api", "rpc"} {
			if ready, all := len(s.running(c)), len(s.pods(c)); ready < 2 || ready != all {
				return fmt.Errorf("%s: %d of %d are ready", c, ready, all)
			}
		}
		return nil
	})
}

func (s *suite) explain() {
	for _, args := range [][]string{
		{"-n", namespace, "get", "pods,jobs,hpa", "-o", "wide"},
		{"-n", namespace, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", namespace, "logs", "-l", "app.kubernetes.io/component in (api,rpc)", "--tail=8", "--prefix", "--since=3m", "--ignore-errors"},
	} {
		out, err := s.try(args...)
		if err != nil {
			out += err.Error()
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range lines[max(0, len(lines)-25):] {
			s.Logf("%.300s", line)
		}
	}
}
