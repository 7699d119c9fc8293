package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// rendered is what one overlay makes.
type rendered struct {
	name        string
	documents   []document
	deployments []appsv1.Deployment
	scalers     []autoscalingv2.HorizontalPodAutoscaler
	budgets     []policyv1.PodDisruptionBudget
	configs     map[string]map[string]string
	templates   map[string]corev1.PodTemplateSpec // of all that makes pods
}

type document struct {
	Kind     string
	Metadata struct{ Name string }
	text     string
}

// foreign kinds need an operator's definitions, which a bare cluster lacks.
var foreign = []string{"ServiceMonitor", "PrometheusRule", "ExternalSecret"}

// render runs kustomize and reads what it makes, strictly.
func (s *suite) render(ctx context.Context, name, dir string) (*rendered, error) {
	out, err := s.kube(ctx, "kustomize", dir)
	if err != nil {
		return nil, err
	}
	return read(name, out)
}

func read(name, text string) (*rendered, error) {
	r := &rendered{name: name, configs: make(map[string]map[string]string), templates: make(map[string]corev1.PodTemplateSpec)}
	for _, text := range strings.Split("\n"+text, "\n---\n") {
		var d document
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			return nil, err
		}
		d.text = text
		r.documents = append(r.documents, d)
		var err error
		strict := func(into any) { err = yaml.UnmarshalStrict([]byte(text), into) }
		switch d.Kind {
		case "Deployment":
			var o appsv1.Deployment
			strict(&o)
			r.deployments = append(r.deployments, o)
			r.templates["Deployment "+o.Name] = o.Spec.Template
		case "Job":
			var o batchv1.Job
			strict(&o)
			r.templates["Job "+o.Name] = o.Spec.Template
		case "CronJob":
			var o batchv1.CronJob
			strict(&o)
			r.templates["CronJob "+o.Name] = o.Spec.JobTemplate.Spec.Template
		case "HorizontalPodAutoscaler":
			var o autoscalingv2.HorizontalPodAutoscaler
			strict(&o)
			r.scalers = append(r.scalers, o)
		case "PodDisruptionBudget":
			var o policyv1.PodDisruptionBudget
			strict(&o)
			r.budgets = append(r.budgets, o)
		case "ConfigMap":
			var o corev1.ConfigMap
			strict(&o)
			r.configs[o.Name] = o.Data
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", name, d.Kind, d.Metadata.Name, err)
		}
	}
	return r, nil
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
		for _, d := range r.documents {
			if slices.Contains(foreign, d.Kind) {
				unknown[d.Kind] = true
				continue
			}
			known = append(known, d.text)
		}
		documents += len(known)
		errs = append(errs, s.validate(ctx, name, strings.Join(known, "\n---\n")))
		for of, template := range r.templates {
			pods++
			p := corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			p.APIVersion, p.Kind, p.Name, p.Namespace = "v1", "Pod", "dry-run", namespace
			if p.Spec.RestartPolicy == "" {
				p.Spec.RestartPolicy = corev1.RestartPolicyAlways
			}
			p.Spec.ServiceAccountName, p.Spec.PriorityClassName = "", "" // not there yet
			p.Spec.TopologySpreadConstraints = nil                       // matchLabelKeys are the Deployment's to fill in
			text, err := yaml.Marshal(p)
			if err != nil {
				return err
			}
			errs = append(errs, s.validate(ctx, name+", a pod of "+of, string(text)))
		}
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
	bad := func(of, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s: %s", r.name, of, fmt.Sprintf(format, args...)))
	}
	for of, t := range r.templates {
		spec := t.Spec
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			bad(of, "a service account's token is mounted")
		}
		if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
			bad(of, "service links would set SHARES_PORT")
		}
		for _, c := range spec.Containers {
			if sc := c.SecurityContext; sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
				bad(of, "the root file system can be written")
			}
			limit := c.Resources.Limits.Memory().Value()
			if soft, err := goMemory(c.Env); err != nil || soft*10 != limit*9 {
				bad(of, "GOMEMLIMIT is %d, not 90%% of the memory limit %d: %v", soft, limit, err)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
				bad(of, "no requests")
			}
		}
	}
	for _, d := range r.deployments {
		of := "Deployment " + d.Name
		scalers, budgets := 0, 0
		for _, h := range r.scalers {
			if h.Spec.ScaleTargetRef.Kind == "Deployment" && h.Spec.ScaleTargetRef.Name == d.Name {
				scalers++
			}
		}
		for _, b := range r.budgets {
			if fmt.Sprint(b.Spec.Selector.MatchLabels) == fmt.Sprint(d.Spec.Selector.MatchLabels) {
				budgets++
			}
		}
		if r.name != "dev" { // one pod, which is not missed
			if scalers != 1 || d.Spec.Replicas != nil {
				bad(of, "%d autoscalers, replicas %v: want one and none", scalers, d.Spec.Replicas)
			}
			if budgets != 1 {
				bad(of, "%d disruption budgets", budgets)
			}
			errs = append(errs, r.windDown(d)...)
		}
		c := d.Spec.Template.Spec.Containers[0]
		if c.StartupProbe == nil || c.LivenessProbe == nil || c.ReadinessProbe == nil {
			bad(of, "a probe is missing")
			continue
		}
		if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.ReadinessProbe.HTTPGet.Port.StrVal != "admin" {
			bad(of, "liveness is /healthz and readiness /readyz, on the port of their own")
		}
	}
	return errs
}

// windDown holds preStop and the process's own times to the grace period.
func (r *rendered) windDown(d appsv1.Deployment) []error {
	spec := d.Spec.Template.Spec
	var settings struct{ Drain, Shutdown string }
	for _, v := range spec.Volumes {
		if v.Name == "settings" {
			if err := yaml.Unmarshal([]byte(r.configs[v.ConfigMap.Name]["shares.yaml"]), &settings); err != nil {
				return []error{err}
			}
		}
	}
	drain, err1 := time.ParseDuration(settings.Drain)
	shutdown, err2 := time.ParseDuration(settings.Shutdown)
	if err := errors.Join(err1, err2); err != nil {
		return []error{fmt.Errorf("%s: Deployment %s: %w", r.name, d.Name, err)}
	}
	life := spec.Containers[0].Lifecycle
	if life == nil || life.PreStop == nil || life.PreStop.Sleep == nil {
		return []error{fmt.Errorf("%s: Deployment %s: no preStop sleep", r.name, d.Name)}
	}
	sleep := time.Duration(life.PreStop.Sleep.Seconds) * time.Second
	grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
	if drain >= shutdown || sleep+shutdown >= grace {
		return []error{fmt.Errorf("%s: Deployment %s: preStop %s + Shutdown %s (Drain %s) do not end within %s", r.name, d.Name, sleep, shutdown, drain, grace)}
	}
	return nil
}

// goMemory reads GOMEMLIMIT in bytes.
func goMemory(env []corev1.EnvVar) (int64, error) {
	for _, e := range env {
		if e.Name == "GOMEMLIMIT" {
			var n int64
			_, err := fmt.Sscanf(e.Value, "%dMiB", &n)
			return n << 20, err
		}
	}
	return 0, errors.New("not set")
}
