package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// rendered is what one overlay makes.
type rendered struct {
	name    string
	objects []object
	configs map[string]map[string]string // data of ConfigMaps, by name
}

// object is as much of any kind as the rules look at.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Replicas       *int
		Selector       struct{ MatchLabels map[string]string }
		ScaleTargetRef struct{ Kind, Name string }
		Template       *template
		JobTemplate    struct {
			Spec struct{ Template *template }
		}
	}
	text string
}

// template is that of pods.
type template struct {
	Metadata map[string]any
	Spec     podSpec
	raw      map[string]any // its spec, whole
}

type podSpec struct {
	AutomountServiceAccountToken  *bool
	EnableServiceLinks            *bool
	TerminationGracePeriodSeconds int
	Containers                    []container
	Volumes                       []struct {
		Name      string
		ConfigMap struct{ Name string }
	}
}

type container struct {
	Env             []struct{ Name, Value string }
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext struct{ ReadOnlyRootFilesystem bool }
	Lifecycle       struct {
		PreStop struct{ Sleep struct{ Seconds int } }
	}
	StartupProbe, LivenessProbe, ReadinessProbe *struct {
		HTTPGet struct{ Path, Port any }
	}
}

// UnmarshalJSON also keeps the spec as it is, for a pod to be made of it.
func (t *template) UnmarshalJSON(b []byte) error {
	type plain template
	var raw struct{ Spec map[string]any }
	if err := errors.Join(json.Unmarshal(b, (*plain)(t)), json.Unmarshal(b, &raw)); err != nil {
		return err
	}
	t.raw = raw.Spec
	return nil
}

// template returns the object's template of pods, nil if it makes none.
func (o object) template() *template {
	if t := o.Spec.JobTemplate.Spec.Template; t != nil {
		return t
	}
	return o.Spec.Template
}

func (o object) String() string { return o.Kind + " " + o.Metadata.Name }

// foreign kinds need an operator's definitions, which a bare cluster lacks.
var foreign = []string{"ServiceMonitor", "PrometheusRule", "ExternalSecret"}

// render runs kustomize.
func (s *suite) render(ctx context.Context, name, dir string) (*rendered, error) {
	out, err := s.kube(ctx, "kustomize", dir)
	if err != nil {
		return nil, err
	}
	return read(name, out)
}

func read(name, text string) (*rendered, error) {
	r := &rendered{name: name, configs: make(map[string]map[string]string)}
	for _, text := range strings.Split("\n"+text, "\n---\n") {
		o := object{text: text}
		if err := decode([]byte(text), &o); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r.objects = append(r.objects, o)
		if o.Kind == "ConfigMap" {
			r.configs[o.Metadata.Name] = o.Data
		}
	}
	return r, nil
}

// decode reads YAML into a value as encoding/json does, with names in any case.
func decode(text []byte, into any) error {
	var content any
	if err := yaml.Unmarshal(text, &content); err != nil {
		return err
	}
	asJSON, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return json.Unmarshal(asJSON, into)
}

// variants returns the overlays' folders, and copies of external with each
// other way in and with metrics.
func (s *suite) variants() (map[string]string, error) {
	root := filepath.Join(s.dir, "variants")
	if err := os.CopyFS(root, os.DirFS("deploy")); err != nil {
		return nil, err
	}
	dirs := make(map[string]string)
	for _, name := range []string{"dev", "external", "allinone"} {
		dirs[name] = filepath.Join(root, "overlays", name)
	}
	content, err := os.ReadFile(filepath.Join(dirs["external"], "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	for name, edits := range map[string][2]string{
		"external, ACK":            {"- ../../components/ingress ", "- ../../components/ingress-ack "},
		"external, TKE":            {"- ../../components/ingress ", "- ../../components/ingress-tke "},
		"external, ServiceMonitor": {"# - ../../components/servicemonitor ", "- ../../components/servicemonitor "},
	} {
		if !strings.Contains(string(content), edits[0]) {
			return nil, fmt.Errorf("overlays/external has no line %q to edit", edits[0])
		}
		path, err := s.file("variants/overlays/"+strings.ReplaceAll(name, ", ", "-")+"/kustomization.yaml", strings.Replace(string(content), edits[0], edits[1], 1))
		if err != nil {
			return nil, err
		}
		dirs[name] = filepath.Dir(path)
	}
	return dirs, nil
}

// manifests shows that the API server takes everything, strictly, that the
// namespace's Pod Security admits every pod, and that the manifests keep the
// house's rules.
func (s *suite) manifests(ctx context.Context, res *result) error {
	if _, err := s.kube(ctx, "apply", "-f", "deploy/base/namespace.yaml"); err != nil {
		return err
	}
	dirs, err := s.variants()
	if err != nil {
		return err
	}
	var errs []error
	documents, pods := 0, 0
	unknown := make(map[string]bool)
	for name, dir := range dirs {
		r, err := s.render(ctx, name, dir)
		if err != nil {
			return err
		}
		var known []string
		for _, o := range r.objects {
			if slices.Contains(foreign, o.Kind) {
				unknown[o.Kind] = true
				continue
			}
			known = append(known, o.text)
			t := o.template()
			if t == nil {
				continue
			}
			pods++
			pod := maps.Clone(t.raw)
			for _, later := range []string{
				"serviceAccountName", "priorityClassName", // not there yet
				"topologySpreadConstraints", // matchLabelKeys are the Deployment's to fill in
			} {
				delete(pod, later)
			}
			text, err := json.Marshal(map[string]any{
				"apiVersion": "v1", "kind": "Pod", "spec": pod,
				"metadata": map[string]any{"name": "dry-run", "namespace": namespace, "labels": t.Metadata["labels"]},
			})
			if err != nil {
				return err
			}
			errs = append(errs, s.validate(ctx, name+", a pod of "+o.String(), string(text)))
		}
		documents += len(known)
		errs = append(errs, s.validate(ctx, name, strings.Join(known, "\n---\n")))
		errs = append(errs, r.rules()...)
	}
	content, err := os.ReadFile("deploy/examples/secrets.yaml")
	if err != nil {
		return err
	}
	errs = append(errs, s.validate(ctx, "examples/secrets.yaml", string(content)))
	res.note = fmt.Sprintf("%d objects, %d kinds of pod", documents, pods)
	if len(unknown) > 0 {
		res.note += "; no definition here of " + strings.Join(sorted(unknown), ", ")
	}
	return errors.Join(errs...)
}

// validate has the API server judge objects without keeping them. A warning of
// Pod Security is a refusal.
func (s *suite) validate(ctx context.Context, name, text string) error {
	path, err := s.file("validate.yaml", text)
	if err != nil {
		return err
	}
	out, err := shell(ctx, s.kubectl, "apply", "--dry-run=server", "--validate=strict", "-f", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "PodSecurity") || strings.Contains(string(out), "deprecated") {
		return fmt.Errorf("%s: %w: %s", name, cmp.Or(err, errors.New("warned of")), out)
	}
	return nil
}

func sorted(set map[string]bool) []string {
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// rules returns what breaks the house's rules, which the API server does not know.
func (r *rendered) rules() []error {
	var errs []error
	bad := func(of object, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s: %s", r.name, of, fmt.Sprintf(format, args...)))
	}
	for _, o := range r.objects {
		t := o.template()
		if t == nil {
			continue
		}
		if on := t.Spec.AutomountServiceAccountToken; on == nil || *on {
			bad(o, "a service account's token is mounted")
		}
		if on := t.Spec.EnableServiceLinks; on == nil || *on {
			bad(o, "service links would set SHARES_PORT")
		}
		for _, c := range t.Spec.Containers {
			if !c.SecurityContext.ReadOnlyRootFilesystem {
				bad(o, "the root file system can be written")
			}
			if soft, hard := c.goMemory(), mebibytes(c.Resources.Limits["memory"]); hard == 0 || soft*10 != hard*9 {
				bad(o, "GOMEMLIMIT is %d MiB, not 90%% of the memory limit of %d MiB", soft, hard)
			}
			if c.Resources.Requests["cpu"] == "" || c.Resources.Requests["memory"] == "" {
				bad(o, "no requests")
			}
		}
	}
	for _, d := range r.objects {
		if d.Kind != "Deployment" {
			continue
		}
		if r.name != "dev" { // one pod, which is not missed
			scalers, budgets := 0, 0
			for _, o := range r.objects {
				switch {
				case o.Kind == "HorizontalPodAutoscaler" && o.Spec.ScaleTargetRef.Kind == "Deployment" && o.Spec.ScaleTargetRef.Name == d.Metadata.Name:
					scalers++
				case o.Kind == "PodDisruptionBudget" && maps.Equal(o.Spec.Selector.MatchLabels, d.Spec.Selector.MatchLabels):
					budgets++
				}
			}
			if scalers != 1 || d.Spec.Replicas != nil {
				bad(d, "%d autoscalers, replicas: %v; want one and none", scalers, d.Spec.Replicas != nil)
			}
			if budgets != 1 {
				bad(d, "%d disruption budgets", budgets)
			}
			if err := r.windDown(d.Spec.Template.Spec); err != nil {
				bad(d, "%v", err)
			}
		}
		c := d.Spec.Template.Spec.Containers[0]
		if c.StartupProbe == nil || c.LivenessProbe == nil || c.ReadinessProbe == nil {
			bad(d, "a probe is missing")
			continue
		}
		if live, ready := c.LivenessProbe.HTTPGet, c.ReadinessProbe.HTTPGet; live.Path != "/healthz" || ready.Path != "/readyz" || ready.Port != "admin" {
			bad(d, "liveness is /healthz and readiness /readyz, on the port of their own")
		}
	}
	return errs
}

// windDown holds preStop and the process's own times to the grace period.
func (r *rendered) windDown(spec podSpec) error {
	var settings struct{ Drain, Shutdown string }
	for _, v := range spec.Volumes {
		if v.Name == "settings" {
			if err := decode([]byte(r.configs[v.ConfigMap.Name]["shares.yaml"]), &settings); err != nil {
				return err
			}
		}
	}
	drain, err1 := time.ParseDuration(settings.Drain)
	shutdown, err2 := time.ParseDuration(settings.Shutdown)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	sleep := time.Duration(spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if sleep == 0 {
		return errors.New("no preStop sleep")
	}
	grace := time.Duration(spec.TerminationGracePeriodSeconds) * time.Second
	if drain >= shutdown || sleep+shutdown >= grace {
		return fmt.Errorf("preStop %s + Shutdown %s (Drain %s) do not end within %s", sleep, shutdown, drain, grace)
	}
	return nil
}

// goMemory is GOMEMLIMIT in MiB; 0 if it is not set so.
func (c container) goMemory() int {
	for _, e := range c.Env {
		if e.Name == "GOMEMLIMIT" {
			return mebibytes(strings.TrimSuffix(e.Value, "B"))
		}
	}
	return 0
}

// mebibytes reads a number that ends in Mi; anything else is 0.
func mebibytes(s string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "Mi"))
	if err != nil || !strings.HasSuffix(s, "Mi") {
		return 0
	}
	return n
}
