package cluster

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const top = "../.."

type alert struct {
	Alert, Expr string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, "deploy/observability/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		Spec struct{ Groups []struct{ Rules []alert } }
	}
	if err := yaml.Unmarshal(content, &rule); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range rule.Spec.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

func TestEveryAlertHasARunbook(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(top, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		_, rest, found := strings.Cut(string(content), "\n### "+a.Alert+"\n\n")
		paragraph, _, _ := strings.Cut(rest, "\n\n")
		if !found || len(paragraph) < 100 {
			t.Errorf("%s has no paragraph in docs/operations.md", a.Alert)
		}
		if want := "docs/operations.md#" + strings.ToLower(a.Alert); a.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %q", a.Alert, a.Annotations["runbook"], want)
		}
	}
}

// TestMetricsExist checks that the code registers every metric of alerts and dashboard.
func TestMetricsExist(t *testing.T) {
	registered := make(map[string]bool)
	definition := regexp.MustCompile(`"(shares_[a-z_]+)"`)
	for _, dir := range []string{"api", "rpc", "internal", "model"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range definition.FindAllSubmatch(source, -1) {
				registered[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	used := regexp.MustCompile(`shares_[a-z_]+`)
	check := func(of, expr string) {
		for _, name := range used.FindAllString(expr, -1) {
			if !registered[name] && !registered[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s uses %s, which is not registered", of, name)
			}
		}
	}
	for _, a := range alerts(t) {
		check("alert "+a.Alert, a.Expr)
	}
	content, err := os.ReadFile(filepath.Join(top, "deploy/observability/dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
}
