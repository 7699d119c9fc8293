//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shares/test/traffic"
)

type row struct {
	name string
	do   func(*suite)
}

// loaded is a row during which every request must be served.
func loaded(do func(*suite)) func(*suite) {
	return func(s *suite) { s.underLoad(expect{}, func() { do(s); s.settled() }) }
}

// rows are in an order in which each leaves the cluster usable for the next. The loss of a node is
// the last.
var rows = []row{
	{"the API server and Pod Security accept every manifest", (*suite).manifests},
	{"dev overlay, from nothing to a login", (*suite).installDev},
	{"no fault (the load alone)", loaded(func(*suite) { time.Sleep(15 * time.Second) })},
	{"control: rolling update without drain", (*suite).control},
	{"rolling update of api", loaded(func(s *suite) { s.restart("api") })},
	{"rolling update of rpc", loaded((*suite).rollRPC)},
	{"release with a migration", loaded((*suite).upgrade)},
	{"rollback", loaded(func(s *suite) { s.deploy(first) })},
	{"release whose image is missing", loaded((*suite).missingImage)},
	{"session secret rotated", loaded((*suite).rotate)},
	{"pods evicted, one after the other", loaded((*suite).evict)},
	{"the disruption budget refuses a second eviction", loaded((*suite).budget)},
	{"pod of api force-deleted", func(s *suite) { s.force("api") }},
	{"pod of rpc force-deleted", func(s *suite) { s.force("rpc") }},
	{"Redis killed, restarted after 5 s", loaded(func(s *suite) { s.outage(s.redis) })},
	{"MySQL killed, restarted after 5 s", (*suite).restartMySQL},
	{"autoscaler up and down", (*suite).scale},
	{"node drained", (*suite).drain},
	{"node killed", (*suite).loseNode},
}

// installDev follows the README's first steps.
func (s *suite) installDev() {
	// Apply the dev overlay itself, in its own namespace and open to the loader.
	dir := strings.Replace(s.release("dev", first), "/overlays/suite", "/overlays/dev", 1)
	file := filepath.Join(dir, "kustomization.yaml")
	content, err := os.ReadFile(file)
	s.check(err)
	content = []byte(strings.Replace(string(content), "namespace: "+namespace, "namespace: "+devNamespace, 1))
	s.check(os.WriteFile(file, content, 0o600))
	start := time.Now()
	s.kube("apply", "-k", dir)
	s.apply(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: suite, namespace: ` + devNamespace + `}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 8080}]}]}
`)
	service := "http://shares." + devNamespace + ".svc"
	s.firstLogin(service, service)
	s.row.Note("%.0f s", time.Since(start).Seconds())
	s.kube("delete", "namespace", devNamespace, "--wait=false")
}

func (s *suite) firstLogin(service, codes string) {
	s.until(5*time.Minute, "a login", func() error { return s.tell("/login", "service", service, "codes", codes) })
}

// install installs what the rows need, and starts the load.
func (s *suite) install() {
	s.row = &traffic.Row{Name: "external overlay, from an empty namespace to a login"}
	s.secret = "the-first-secret-of-the-cluster-suite-0001"
	s.kube("apply", "-f", "deploy/base/namespace.yaml")
	s.secrets()
	s.database()
	dir := s.release("external", first)
	start := time.Now()
	s.kube("apply", "-k", dir)
	s.firstLogin(serviceURL, "http://"+s.at(simulatorPort))
	s.row.Note("%.0f s", time.Since(start).Seconds())
	s.installed = s.row
	s.settled() // the autoscalers have set their minimum
	s.startLoad(steadyUsers, steadyRate)
}

// control removes the drain settings, and must see failures.
func (s *suite) control() {
	abrupt := func(component string) patch {
		return patch{
			Target: map[string]string{"kind": "Deployment", "name": "shares-" + component},
			Patch: `[{"op":"remove","path":"/spec/template/spec/containers/0/lifecycle"},
{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"SHARES_DRAIN","value":"0s"}},
{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"SHARES_SHUTDOWN","value":"12s"}}]`,
		}
	}
	s.deploy(first, abrupt("api"), abrupt("rpc")) // the last rollout that drains
	s.underLoad(expect{failing: true, stale: true}, func() {
		for range 3 {
			s.restart("api")
		}
	})
	s.deploy(first)
	s.settled()
}

func (s *suite) restart(component string) {
	s.kube("-n", namespace, "rollout", "restart", "deploy/shares-"+component)
	s.rolledOut(component)
}

// rollRPC also measures how soon new pods get calls, and checks that old pods get none by the time
// their listener closes.
func (s *suite) rollRPC() {
	s.restart("rpc")
	var slowest time.Duration
	for _, p := range s.running("rpc") {
		s.until(5*time.Minute, "calls to "+p.Metadata.Name, func() error {
			if s.calls(p) == 0 {
				return errors.New("no calls")
			}
			return nil
		})
		slowest = max(slowest, time.Since(p.readySince())) // in whole seconds
	}
	s.row.Note("new pods called within %.0f s", slowest.Seconds())
	s.quietEnd()
}

// quietEnd checks that terminating pods get no calls in the last seconds before SIGTERM.
func (s *suite) quietEnd() {
	for _, p := range s.pods("rpc") {
		if p.Metadata.DeletionTimestamp == nil {
			continue
		}
		// deletionTimestamp is the end of the grace period (75 s). SIGTERM comes 45 s after the
		// period begins.
		term := p.Metadata.DeletionTimestamp.Add(-30 * time.Second)
		time.Sleep(time.Until(term) - 8*time.Second)
		before := s.calls(p)
		time.Sleep(4 * time.Second)
		if after := s.calls(p); before != after {
			s.Errorf("%s still gets calls %s before it closes: %v in 4 s", p.Metadata.Name, time.Until(term).Round(time.Second), after-before)
		}
		return // one is enough, because all were deleted together
	}
	s.Error("no pod of rpc terminates: its shutdown is too short to observe")
}

func (s *suite) calls(p pod) float64 {
	page := s.kube("get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+p.Metadata.Name+":8081/proxy/metrics")
	n, err := traffic.Metric(page, "shares_cache_reads_total{")
	s.check(err)
	return n
}

// upgrade applies the whole next release in one step: its pods must wait for its migration, which
// is slow.
func (s *suite) upgrade() {
	s.deploy(second)
	var migrated time.Time
	s.until(5*time.Minute, "the end of the migration", func() error {
		out, err := s.try("-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=migrate", "-o",
			`jsonpath={.items[?(@.spec.containers[0].image=="`+imageName+":"+second+`")].status.containerStatuses[0].state.terminated.finishedAt}`)
		if err == nil {
			migrated, err = time.Parse(time.RFC3339, out)
		}
		return err
	})
	for _, p := range s.running("rpc") {
		// Both times are in whole seconds, and the process ends a moment after its work.
		if early := migrated.Sub(p.readySince()); early > 2*time.Second {
			s.Errorf("%s was ready %s before the migration ended", p.Metadata.Name, early)
		}
		if image := p.Spec.Containers[0].Image; image != imageName+":"+second {
			s.Errorf("%s runs %s", p.Metadata.Name, image)
		}
	}
}

func (s *suite) missingImage() {
	s.kube("apply", "-k", s.release("external", missing))
	if _, err := s.try("-n", namespace, "rollout", "status", "deploy/shares-api", "--timeout=20s"); err == nil {
		s.Error("a release without an image was rolled out")
	}
	s.kube("-n", namespace, "delete", "job", "-l", "app.kubernetes.io/component=migrate")
	s.deploy(first)
}

// rotate follows docs/operations.md: add the new secret, sign with it, remove the old one.
func (s *suite) rotate() {
	const next = "the-second-secret-of-the-cluster-suite-002"
	old := s.secret
	for _, secrets := range []string{old + "," + next, next + "," + old, next} {
		s.secret = secrets
		s.secrets()
		s.restart("api")
		s.settled()
		// In production, the pause is a session's lifetime, in which every user renews.
		time.Sleep(6 * time.Second)
	}
}

func (s *suite) eviction(p pod) error {
	return s.post("/api/v1/namespaces/"+namespace+"/pods/"+p.Metadata.Name+"/eviction", s.json(map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": p.Metadata.Name, "namespace": namespace},
	}))
}

func (s *suite) evict() {
	for _, component := range []string{"api", "rpc"} {
		for _, p := range s.running(component) {
			// Retry until the budget allows it, as a drain does.
			s.until(5*time.Minute, "the eviction of "+p.Metadata.Name, func() error { return s.eviction(p) })
		}
	}
}

func (s *suite) budget() {
	for _, component := range []string{"api", "rpc"} {
		pods := s.running(component)
		s.check(s.eviction(pods[0]))
		if err := s.eviction(pods[1]); err == nil || !strings.Contains(err.Error(), "disruption budget") {
			s.Errorf("a second eviction of %s was not refused by the budget: %v", component, err)
		}
	}
}

// force deletes a pod and its requests in flight: those sent within a quarter of a second.
func (s *suite) force(component string) {
	s.underLoad(expect{failures: steadyRate / 4}, func() {
		s.kube("-n", namespace, "delete", "pod", s.running(component)[0].Metadata.Name, "--grace-period=0", "--force")
		s.settled()
	})
}

// recovery is how long requests may fail after MySQL answers again. Probes detect it within a
// second; pods on a busy machine take longer.
const recovery = 10 * time.Second

// restartMySQL checks that requests which need MySQL are refused with 503, and that no others fail.
func (s *suite) restartMySQL() {
	var back time.Time
	s.underLoad(expect{refusals: true}, func() { back = s.outage(s.mysql) })
	if l := s.row.Stats; l.Refused > 0 {
		s.row.Note("503 for %.1f s", l.Last.Sub(l.First).Seconds())
		if late := l.Last.Sub(back); late > recovery {
			s.Errorf("requests failed until %s after MySQL was back", late)
		}
	}
	// No pod is restarted because of another server's fault.
	out := s.kube("-n", namespace, "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	if strings.Trim(out, "0 ") != "" {
		s.Errorf("containers were restarted: %s", out)
	}
}

// outage kills a server for five seconds and returns the time of its restart.
func (s *suite) outage(v *server) (back time.Time) {
	time.Sleep(3 * time.Second)
	s.check(v.kill())
	time.Sleep(5 * time.Second)
	s.check(v.Start())
	back = time.Now()
	time.Sleep(5 * time.Second)
	return back
}

// scale raises the load until api's autoscaler adds pods, and lowers it until they are removed. The
// autoscaler waits 10 s, not 5 minutes, before it removes a pod.
func (s *suite) scale() {
	quick := patch{
		Target: map[string]string{"kind": "HorizontalPodAutoscaler"},
		Patch: `[{"op":"replace","path":"/spec/behavior/scaleDown","value":{"stabilizationWindowSeconds":10,"policies":[{"type":"Pods","value":2,"periodSeconds":10}]}},
{"op":"replace","path":"/spec/maxReplicas","value":3}]`,
	}
	low := patch{ // so that this machine can make a high load
		Target: map[string]string{"kind": "Deployment", "name": "shares-api"},
		Patch:  `[{"op":"replace","path":"/spec/template/spec/containers/0/resources/requests/cpu","value":"50m"}]`,
	}
	s.deploy(first, quick, low)
	s.settled()
	s.startLoad(4*steadyUsers, 6*steadyRate)
	most := 0
	pods := func(ok func(int) bool) func() error {
		return func() error {
			n := len(s.running("api"))
			most = max(most, n)
			if !ok(n) {
				return fmt.Errorf("%d pods", n)
			}
			return nil
		}
	}
	s.underLoad(expect{}, func() {
		s.until(10*time.Minute, "a third pod of api", pods(func(n int) bool { return n >= 3 }))
		time.Sleep(10 * time.Second)
		s.verified(expect{}) // this load is replaced
		s.startLoad(steadyUsers, steadyRate/4)
		s.row.Note("2 to %d pods and back", most)
		// If a pod's metrics are late, the autoscaler assumes full CPU use.
		s.until(10*time.Minute, "two pods of api", pods(func(n int) bool { return n == 2 }))
		s.settled()
	})
	s.deploy(first)
	s.settled()
	s.startLoad(steadyUsers, steadyRate)
}

func (s *suite) drain() {
	s.underLoad(expect{}, func() {
		s.kube("drain", s.victim, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=600s")
		s.settled()
	})
	s.kube("uncordon", s.victim)
	// Pods do not move back on their own.
	s.restart("api")
	s.restart("rpc")
	s.settled()
}

// nodeLoss is how long requests may fail after a node is killed. The node controller waits 50 s
// before it removes a silent node's pods from Services.
const nodeLoss = 75 * time.Second

func (s *suite) loseNode() {
	var killed time.Time
	s.underLoad(expect{failures: -1}, func() {
		s.run(s.killNode, s.victim)
		killed = time.Now()
		time.Sleep(nodeLoss)
		for _, component := range []string{"api", "rpc"} {
			s.until(5*time.Minute, component+" on "+s.keep, func() error {
				pods := s.running(component)
				for _, p := range pods {
					if p.Spec.NodeName != s.keep {
						return errors.New(p.Metadata.Name + " is on " + p.Spec.NodeName)
					}
				}
				if len(pods) == 0 {
					return errors.New("no pods")
				}
				return nil
			})
		}
	})
	if l := s.row.Stats; l.Failed > 0 {
		gone := l.Last.Sub(killed)
		s.row.Note("requests failed until %.0f s after", gone.Seconds())
		if gone > nodeLoss {
			s.Errorf("requests failed until %s after the node was killed", gone)
		}
	}
}
