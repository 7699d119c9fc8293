//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type rendered struct {
	name    string
	objects []object
	configs map[string]any // data of ConfigMaps, by name
}

type object struct {
	text    string
	content any
}

// at returns the value at a path of names and indexes, nil if there is none.
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

func text(v any, path string) string {
	s, _ := at(v, path).(string)
	return s
}

func (o object) kind() string   { return text(o.content, "kind") }
func (o object) String() string { return o.kind() + " " + text(o.content, "metadata.name") }

// template returns the object's pod template, nil if it has none.
func (o object) template() any {
	if t := at(o.content, "spec.jobTemplate.spec.template"); t != nil {
		return t
	}
	return at(o.content, "spec.template")
}

func read(name, text string) (*rendered, error) {
	r := &rendered{name: name, configs: make(map[string]any)}
	for _, text := range strings.Split("\n"+text, "\n---\n") {
		o := object{text: text}
		if err := yaml.Unmarshal([]byte(text), &o.content); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r.objects = append(r.objects, o)
		if o.kind() == "ConfigMap" {
			r.configs[at(o.content, "metadata.name").(string)] = at(o.content, "data")
		}
	}
	return r, nil
}

// rules returns the violations of our rules, which the API server does not know.
func (r *rendered) rules() []error {
	var errs []error
	for _, o := range r.objects {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: %s: %s", r.name, o, fmt.Sprintf(format, args...)))
		}
		pod := at(o.template(), "spec")
		if pod == nil {
			continue
		}
		if at(pod, "automountServiceAccountToken") != false {
			bad("a service account's token is mounted")
		}
		if at(pod, "enableServiceLinks") != false {
			bad("service links would set SHARES_PORT")
		}
		containers, _ := at(pod, "containers").([]any)
		for _, c := range containers {
			if at(c, "securityContext.readOnlyRootFilesystem") != true {
				bad("the root file system can be written")
			}
			if soft, hard := goMemory(c), mebibytes(text(c, "resources.limits.memory")); hard == 0 || soft*10 != hard*9 {
				bad("GOMEMLIMIT is %d MiB, not 90%% of the memory limit of %d MiB", soft, hard)
			}
			if text(c, "resources.requests.cpu") == "" || text(c, "resources.requests.memory") == "" {
				bad("no requests")
			}
		}
		if o.kind() == "Deployment" {
			r.deployment(o, pod, bad)
		}
	}
	return errs
}

// deployment checks the rules for a server with replicas.
func (r *rendered) deployment(d object, pod any, bad func(string, ...any)) {
	if r.name != "dev" { // one pod without replicas
		scalers, budgets := 0, 0
		for _, o := range r.objects {
			target := at(o.content, "spec.scaleTargetRef")
			switch {
			case o.kind() == "HorizontalPodAutoscaler" && text(target, "kind")+" "+text(target, "name") == d.String():
				scalers++
			case o.kind() == "PodDisruptionBudget" &&
				reflect.DeepEqual(at(o.content, "spec.selector.matchLabels"), at(d.content, "spec.selector.matchLabels")):
				budgets++
			}
		}
		if replicas := at(d.content, "spec.replicas"); scalers != 1 || replicas != nil {
			bad("%d autoscalers, replicas: %v; want one and none", scalers, replicas)
		}
		if budgets != 1 {
			bad("%d disruption budgets", budgets)
		}
		if err := r.drains(pod); err != nil {
			bad("%v", err)
		}
	}
	c := at(pod, "containers.0")
	if at(c, "startupProbe") == nil || text(c, "livenessProbe.httpGet.path") != "/healthz" ||
		text(c, "readinessProbe.httpGet.path") != "/readyz" || text(c, "readinessProbe.httpGet.port") != "admin" {
		bad("a probe is missing, or liveness is not /healthz and readiness /readyz on the admin port")
	}
}

// drains checks that preStop and the process's shutdown fit into the grace period.
func (r *rendered) drains(pod any) error {
	var settings struct{ Drain, Shutdown time.Duration }
	volumes, _ := at(pod, "volumes").([]any)
	for _, v := range volumes {
		if text(v, "name") == "settings" {
			// The key has a dot, so at cannot read it.
			data, _ := r.configs[text(v, "configMap.name")].(map[string]any)
			content, _ := data["shares.yaml"].(string)
			var raw map[string]string
			if err := yaml.Unmarshal([]byte(content), &raw); err != nil {
				return err
			}
			var err1, err2 error
			settings.Drain, err1 = time.ParseDuration(raw["Drain"])
			settings.Shutdown, err2 = time.ParseDuration(raw["Shutdown"])
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
		}
	}
	seconds := func(v any) time.Duration { n, _ := v.(int); return time.Duration(n) * time.Second }
	sleep, grace := seconds(at(pod, "containers.0.lifecycle.preStop.sleep.seconds")), seconds(at(pod, "terminationGracePeriodSeconds"))
	if sleep == 0 {
		return errors.New("no preStop sleep")
	}
	if settings.Drain >= settings.Shutdown || sleep+settings.Shutdown >= grace {
		return fmt.Errorf("preStop %s + Shutdown %s (Drain %s) do not end within %s", sleep, settings.Shutdown, settings.Drain, grace)
	}
	return nil
}

// goMemory returns a container's GOMEMLIMIT in MiB, 0 if it is not set in MiB.
func goMemory(c any) int {
	env, _ := at(c, "env").([]any)
	for _, e := range env {
		if text(e, "name") == "GOMEMLIMIT" {
			return mebibytes(strings.TrimSuffix(text(e, "value"), "B"))
		}
	}
	return 0
}

// mebibytes parses a number that ends in Mi, and returns 0 for other texts.
func mebibytes(s string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "Mi"))
	if err != nil || !strings.HasSuffix(s, "Mi") {
		return 0
	}
	return n
}
