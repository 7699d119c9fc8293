//go:build cluster

package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"shares/test/traffic"
)

func TestMain(m *testing.M) {
	if address := os.Getenv("SUITE_S3"); address != "" { // the suite starts itself beside the cluster
		fmt.Fprintln(os.Stderr, serveS3(address))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestCluster(t *testing.T) {
	t.Chdir("../..")
	s := &suite{
		T:         t,
		kubectl:   cmp.Or(os.Getenv("KUBECTL"), "kubectl"),
		loadImage: cmp.Or(os.Getenv("LOAD_IMAGE"), "kind load image-archive"),
		killNode:  cmp.Or(os.Getenv("KILL_NODE"), "docker kill"),
		beside:    os.Getenv("BESIDE"),
		address:   cmp.Or(os.Getenv("BESIDE_ADDR"), gateway()),
		dir:       t.TempDir(),
	}
	if s.address == "" {
		t.Fatal("BESIDE_ADDR: must be set, because there is no network of kind")
	}
	t.Cleanup(func() {
		s.T = t
		if os.Getenv("KEEP") == "" {
			s.uninstall()
		}
		s.check(s.stopBeside())
	})
	s.prepare()
	s.install()
	var table []*traffic.Row
	defer func() { s.check(traffic.Print(os.Stdout, append([]*traffic.Row{s.installed}, table...))) }()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s.T, s.row = t, &traffic.Row{Name: r.name}
			table = append(table, s.row)
			defer func() {
				if t.Failed() {
					s.row.Note("FAILED")
					s.explain()
				}
			}()
			r.do(s)
		})
		s.T = t
	}
}

// gateway returns the gateway of kind's network, or nothing.
func gateway() string {
	out, _ := exec.Command("docker", "network", "inspect", "kind", "-f", `{{range .IPAM.Config}}{{.Gateway}} {{end}}`).Output()
	for _, address := range strings.Fields(string(out)) {
		if !strings.Contains(address, ":") {
			return address
		}
	}
	return ""
}

func (s *suite) check(errs ...error) {
	s.Helper()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
}
