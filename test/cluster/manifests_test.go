package main

import (
	"fmt"
	"strings"
	"testing"
)

// good follows the rules.
const good = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  shares.yaml: |
    Drain: 5s
    Shutdown: 20s
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {component: api}}
  template:
    metadata: {labels: {component: api}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 45
      containers:
      - name: api
        env: [{name: GOMEMLIMIT, value: 90MiB}]
        resources: {requests: {cpu: 100m, memory: 50Mi}, limits: {memory: 100Mi}}
        startupProbe: {httpGet: {path: /healthz, port: admin}}
        livenessProbe: {httpGet: {path: /healthz, port: admin}}
        readinessProbe: {httpGet: {path: /readyz, port: admin}}
        lifecycle: {preStop: {sleep: {seconds: 10}}}
        securityContext: {readOnlyRootFilesystem: true}
      volumes: [{name: settings, configMap: {name: settings}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: api}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: api}
  maxReplicas: 3
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: api}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {component: api}}
`

func TestRules(t *testing.T) {
	for name, tt := range map[string]struct{ old, new, want string }{
		"good":                       {},
		"replicas beside the scaler": {"spec:\n  selector: {matchLabels: {component: api}}\n  template", "spec:\n  replicas: 2\n  selector: {matchLabels: {component: api}}\n  template", "replicas"},
		"no scaler":                  {"kind: Deployment, name: api", "kind: Deployment, name: rpc", "0 autoscalers"},
		"no budget":                  {"maxUnavailable: 1\n  selector: {matchLabels: {component: api}}", "maxUnavailable: 1\n  selector: {matchLabels: {component: rpc}}", "0 disruption budgets"},
		"memory limit":               {"90MiB", "100MiB", "GOMEMLIMIT"},
		"no memory limit":            {"GOMEMLIMIT", "GOGC", "GOMEMLIMIT"},
		"grace too short":            {"terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30", "do not end within 30s"},
		"drain without an end":       {"Drain: 5s", "Drain: 20s", "do not end"},
		"no preStop":                 {"lifecycle: {preStop: {sleep: {seconds: 10}}}", "lifecycle: {}", "preStop"},
		"token mounted":              {"automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		"service links":              {"enableServiceLinks: false", "enableServiceLinks: true", "service links"},
		"writable root":              {"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root file system"},
		"no requests":                {"requests: {cpu: 100m, memory: 50Mi}, ", "", "requests"},
		"readiness on another page":  {"path: /readyz", "path: /healthz", "readiness"},
		"no liveness":                {"livenessProbe: {httpGet: {path: /healthz, port: admin}}", "stdin: false", "probe"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("nothing to change: %q", tt.old)
			}
			r, err := read("test", strings.Replace(good, tt.old, tt.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			errs := r.rules()
			if tt.want == "" {
				if len(errs) > 0 {
					t.Fatal(errs)
				}
				return
			}
			if !strings.Contains(fmt.Sprint(errs), tt.want) {
				t.Errorf("got %v, want %q", errs, tt.want)
			}
		})
	}
}
