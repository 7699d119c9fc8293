//go:build cluster

package cluster

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// foreign kinds need an operator's definitions, which a bare cluster lacks.
var foreign = []string{"ServiceMonitor", "PrometheusRule", "ExternalSecret"}

// variants returns the overlays' folders, and those of copies of external: one for each other
// ingress, one with metrics.
func (s *suite) variants() map[string]string {
	root := filepath.Join(s.dir, "variants")
	s.check(os.CopyFS(root, os.DirFS("deploy")))
	dirs := make(map[string]string)
	for _, name := range []string{"dev", "external", "allinone"} {
		dirs[name] = filepath.Join(root, "overlays", name)
	}
	content, err := os.ReadFile(filepath.Join(dirs["external"], "kustomization.yaml"))
	s.check(err)
	for name, edits := range map[string][2]string{
		"external, ACK":            {"- ../../components/ingress ", "- ../../components/ingress-ack "},
		"external, TKE":            {"- ../../components/ingress ", "- ../../components/ingress-tke "},
		"external, ServiceMonitor": {"# - ../../components/servicemonitor ", "- ../../components/servicemonitor "},
		"external, internal port":  {"# - ../../components/internal ", "- ../../components/internal "},
	} {
		if !strings.Contains(string(content), edits[0]) {
			s.Fatalf("overlays/external has no line %q to edit", edits[0])
		}
		path := s.file("variants/overlays/"+strings.ReplaceAll(name, ", ", "-")+"/kustomization.yaml", strings.Replace(string(content), edits[0], edits[1], 1))
		dirs[name] = filepath.Dir(path)
	}
	return dirs
}

// manifests checks that the API server accepts everything in strict mode, that the namespace's Pod
// Security admits every pod, and that the manifests follow our rules.
func (s *suite) manifests() {
	s.kube("apply", "-f", "deploy/base/namespace.yaml")
	documents, pods := 0, 0
	unknown := make(map[string]bool)
	for name, dir := range s.variants() {
		r, err := read(name, s.kube("kustomize", dir))
		s.check(err)
		var known []string
		for _, o := range r.objects {
			if slices.Contains(foreign, o.kind()) {
				unknown[o.kind()] = true
				continue
			}
			known = append(known, o.text)
			if t := o.template(); t != nil {
				pods++
				s.validate(name+", a pod of "+o.String(), s.podOf(t))
			}
		}
		documents += len(known)
		s.validate(name, strings.Join(known, "\n---\n"))
		for _, err := range r.rules() {
			s.Error(err)
		}
	}
	content, err := os.ReadFile("deploy/examples/secrets.yaml")
	s.check(err)
	s.validate("examples/secrets.yaml", string(content))
	s.row.Note("%d objects, %d kinds of pod", documents, pods)
	if len(unknown) > 0 {
		s.row.Note("not defined here: %s", strings.Join(slices.Sorted(maps.Keys(unknown)), ", "))
	}
}

// podOf returns a pod of a template.
func (s *suite) podOf(template any) string {
	pod := maps.Clone(at(template, "spec").(map[string]any))
	for _, later := range []string{
		"serviceAccountName", "priorityClassName", // do not exist yet
		"topologySpreadConstraints", // the Deployment fills in matchLabelKeys
	} {
		delete(pod, later)
	}
	return s.json(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": pod,
		"metadata": map[string]any{"name": "dry-run", "namespace": namespace, "labels": at(template, "metadata.labels")},
	})
}

// validate makes the API server check objects without storing them. A warning of Pod Security is a
// failure.
func (s *suite) validate(name, text string) {
	out, err := shell(s.kubectl, "apply", "--dry-run=server", "--validate=strict", "-f", s.file("validate.yaml", text)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "PodSecurity") || strings.Contains(string(out), "deprecated") {
		s.Errorf("%s: %v: %s", name, err, out)
	}
}
