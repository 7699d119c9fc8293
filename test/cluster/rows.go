package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shares/test/traffic"
)

// rows returns the rows in an order in which each leaves the cluster usable for the next. The loss
// of a node is the last.
func (s *suite) rows() []row {
	loaded := func(do func(context.Context, *result) error) func(context.Context, *result) error {
		return func(ctx context.Context, res *result) error {
			return s.underLoad(ctx, res, expect{}, func() error { return errors.Join(do(ctx, res), s.settled(ctx)) })
		}
	}
	return []row{
		{name: "the API server and Pod Security accept every manifest", run: s.manifests},
		{name: "dev overlay, from nothing to a login", run: s.installDev},
		{name: "external overlay, from an empty namespace to a login", always: true, run: s.install},
		{name: "no fault (the load alone)", run: loaded(func(ctx context.Context, _ *result) error { return traffic.Pause(ctx, 15*time.Second) })},
		{name: "control: rolling update without drain", run: s.control},
		{name: "rolling update of api", run: loaded(func(ctx context.Context, _ *result) error { return s.restart(ctx, "api") })},
		{name: "rolling update of rpc", run: loaded(s.rollRPC)},
		{name: "release with a migration", run: loaded(s.upgrade)},
		{name: "rollback", run: loaded(func(ctx context.Context, _ *result) error { return s.deploy(ctx, first) })},
		{name: "release whose image is missing", run: loaded(s.missingImage)},
		{name: "session secret rotated", run: loaded(s.rotate)},
		{name: "pods evicted, one after the other", run: loaded(s.evict)},
		{name: "the disruption budget refuses a second eviction", run: loaded(s.budget)},
		{name: "pod of api force-deleted", run: s.force("api")},
		{name: "pod of rpc force-deleted", run: s.force("rpc")},
		{name: "Redis killed, restarted after 5 s", run: loaded(func(ctx context.Context, _ *result) error { _, err := s.outage(ctx, s.redis); return err })},
		{name: "MySQL killed, restarted after 5 s", run: s.restartMySQL},
		{name: "autoscaler up and down", run: s.scale},
		{name: "node drained", run: s.drain},
		{name: "node killed", run: s.loseNode},
	}
}

// installDev follows the README's first steps.
func (s *suite) installDev(ctx context.Context, res *result) error {
	dir, err := s.release("dev", first)
	if err != nil {
		return err
	}
	// Apply the dev overlay itself, in its own namespace and open to the loader.
	dir = strings.Replace(dir, "/overlays/suite", "/overlays/dev", 1)
	file := filepath.Join(dir, "kustomization.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	content = []byte(strings.Replace(string(content), "namespace: "+namespace, "namespace: "+devNamespace, 1))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return err
	}
	allow := `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: suite, namespace: ` + devNamespace + `}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 8080}]}]}
`
	start := time.Now()
	if _, err := s.kube(ctx, "apply", "-k", dir); err != nil {
		return err
	}
	if _, err := s.kubeIn(ctx, allow, "apply", "-f", "-"); err != nil {
		return err
	}
	service := "http://shares." + devNamespace + ".svc"
	if err := s.firstLogin(ctx, service, service); err != nil {
		return err
	}
	res.note = fmt.Sprintf("%.0f s", time.Since(start).Seconds())
	_, err = s.kube(ctx, "delete", "namespace", devNamespace, "--wait=false")
	return err
}

func (s *suite) firstLogin(ctx context.Context, service, codes string) error {
	return until(ctx, 5*time.Minute, "a login", func() (bool, error) {
		err := s.login(ctx, service, codes)
		return err == nil, err
	})
}

func (s *suite) install(ctx context.Context, res *result) error {
	s.secret = "the-first-secret-of-the-cluster-suite-0001"
	if _, err := s.kube(ctx, "apply", "-f", "deploy/base/namespace.yaml"); err != nil {
		return err
	}
	if err := errors.Join(s.secrets(ctx), s.database(ctx)); err != nil {
		return err
	}
	dir, err := s.release("external", first)
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := s.kube(ctx, "apply", "-k", dir); err != nil {
		return err
	}
	if err := s.firstLogin(ctx, serviceURL, "http://"+s.at(simulatorPort)); err != nil {
		return err
	}
	res.note = fmt.Sprintf("%.0f s", time.Since(start).Seconds())
	if err := s.settled(ctx); err != nil { // the autoscalers have set their minimum
		return err
	}
	return s.startLoad(ctx, steadyUsers, steadyRate)
}

// control removes the drain settings, and must see failures.
func (s *suite) control(ctx context.Context, res *result) error {
	abrupt := func(component string) patch {
		return patch{
			Target: map[string]string{"kind": "Deployment", "name": "shares-" + component},
			Patch: `[{"op":"remove","path":"/spec/template/spec/containers/0/lifecycle"},
{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"SHARES_DRAIN","value":"0s"}},
{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"SHARES_SHUTDOWN","value":"12s"}}]`,
		}
	}
	patches := []patch{abrupt("api"), abrupt("rpc")}
	if err := s.deploy(ctx, first, patches...); err != nil { // the last rollout that drains
		return err
	}
	err := s.underLoad(ctx, res, expect{failing: true, stale: true}, func() error {
		for range 3 {
			if err := s.restart(ctx, "api"); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, s.deploy(ctx, first), s.settled(ctx))
}

func (s *suite) restart(ctx context.Context, component string) error {
	if _, err := s.kube(ctx, "-n", namespace, "rollout", "restart", "deploy/shares-"+component); err != nil {
		return err
	}
	return s.rolledOut(ctx, component)
}

// rollRPC also measures how soon new pods get calls, and checks that old pods get none by the time
// their listener closes.
func (s *suite) rollRPC(ctx context.Context, res *result) error {
	if err := s.restart(ctx, "rpc"); err != nil {
		return err
	}
	fresh, err := s.running(ctx, "rpc")
	if err != nil {
		return err
	}
	var slowest time.Duration
	for _, p := range fresh {
		since := p.readySince() // in whole seconds
		if err := until(ctx, 5*time.Minute, "calls to "+p.Metadata.Name, func() (bool, error) {
			calls, err := s.calls(ctx, p)
			return calls > 0, err
		}); err != nil {
			return err
		}
		slowest = max(slowest, time.Since(since))
	}
	res.note = fmt.Sprintf("new pods called within %.0f s", slowest.Seconds())
	return s.quietEnd(ctx)
}

// quietEnd checks that terminating pods get no calls in the last seconds before SIGTERM.
func (s *suite) quietEnd(ctx context.Context) error {
	pods, err := s.pods(ctx, "rpc")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.Metadata.DeletionTimestamp == nil {
			continue
		}
		// deletionTimestamp is the end of the grace period (75 s). SIGTERM comes 45 s after the
		// period begins.
		term := p.Metadata.DeletionTimestamp.Add(-30 * time.Second)
		if err := traffic.Pause(ctx, time.Until(term)-8*time.Second); err != nil {
			return err
		}
		before, err := s.calls(ctx, p)
		if err != nil {
			return err
		}
		if err := traffic.Pause(ctx, 4*time.Second); err != nil {
			return err
		}
		after, err := s.calls(ctx, p)
		if err != nil {
			return err
		}
		if before != after {
			return fmt.Errorf("%s still gets calls %s before it closes: %v in 4 s", p.Metadata.Name, time.Until(term).Round(time.Second), after-before)
		}
		return nil // one is enough, because all were deleted together
	}
	return errors.New("no pod of rpc terminates: its shutdown is too short to observe")
}

func (s *suite) calls(ctx context.Context, p pod) (float64, error) {
	out, err := s.kube(ctx, "get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+p.Metadata.Name+":8081/proxy/metrics")
	if err != nil {
		return 0, err
	}
	return traffic.Metric(out, "shares_cache_reads_total{")
}

// upgrade applies the whole next release in one step: its pods must wait for its migration, which
// is slow.
func (s *suite) upgrade(ctx context.Context, res *result) error {
	if err := s.deploy(ctx, second); err != nil {
		return err
	}
	var migrated time.Time
	if err := until(ctx, 5*time.Minute, "the end of the migration", func() (bool, error) {
		out, err := s.kube(ctx, "-n", namespace, "get", "pods", "-l", "batch.kubernetes.io/job-name=shares-migrate-"+second,
			"-o", "jsonpath={.items[0].status.containerStatuses[0].state.terminated.finishedAt}")
		if err != nil {
			return false, err
		}
		migrated, err = time.Parse(time.RFC3339, out)
		return err == nil, err
	}); err != nil {
		return err
	}
	pods, err := s.running(ctx, "rpc")
	if err != nil {
		return err
	}
	for _, p := range pods {
		// Both times are in whole seconds, and the process ends a moment after its work.
		if early := migrated.Sub(p.readySince()); early > 2*time.Second {
			return fmt.Errorf("%s was ready %s before the migration ended", p.Metadata.Name, early)
		}
		if image := p.Spec.Containers[0].Image; image != imageName+":"+second {
			return fmt.Errorf("%s runs %s", p.Metadata.Name, image)
		}
	}
	return nil
}

func (s *suite) missingImage(ctx context.Context, res *result) error {
	dir, err := s.release("external", missing)
	if err != nil {
		return err
	}
	if _, err := s.kube(ctx, "apply", "-k", dir); err != nil {
		return err
	}
	if _, err := s.kube(ctx, "-n", namespace, "rollout", "status", "deploy/shares-api", "--timeout=20s"); err == nil {
		return errors.New("a release without an image was rolled out")
	}
	if _, err := s.kube(ctx, "-n", namespace, "delete", "job", "shares-migrate-"+missing); err != nil {
		return err
	}
	return s.deploy(ctx, first)
}

// rotate follows docs/operations.md: add the new secret, sign with it, remove the old one.
func (s *suite) rotate(ctx context.Context, _ *result) error {
	const next = "the-second-secret-of-the-cluster-suite-002"
	old := s.secret
	for _, secrets := range []string{old + "," + next, next + "," + old, next} {
		s.secret = secrets
		// In production, the pause is a session's lifetime, in which every user renews.
		for _, step := range []func() error{
			func() error { return s.secrets(ctx) },
			func() error { return s.restart(ctx, "api") },
			func() error { return s.settled(ctx) },
			func() error { return traffic.Pause(ctx, 6*time.Second) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *suite) eviction(ctx context.Context, p pod) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": p.Metadata.Name, "namespace": namespace},
	})
	if err != nil {
		return err
	}
	_, err = s.kubeIn(ctx, string(body), "create", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+p.Metadata.Name+"/eviction", "-f", "-")
	return err
}

func (s *suite) evict(ctx context.Context, res *result) error {
	for _, component := range []string{"api", "rpc"} {
		pods, err := s.running(ctx, component)
		if err != nil {
			return err
		}
		for _, p := range pods {
			// Retry until the budget allows it, as a drain does.
			if err := until(ctx, 5*time.Minute, "the eviction of "+p.Metadata.Name, func() (bool, error) {
				err := s.eviction(ctx, p)
				return err == nil, err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *suite) budget(ctx context.Context, res *result) error {
	for _, component := range []string{"api", "rpc"} {
		pods, err := s.running(ctx, component)
		if err != nil {
			return err
		}
		if err := s.eviction(ctx, pods[0]); err != nil {
			return err
		}
		if err := s.eviction(ctx, pods[1]); err == nil || !strings.Contains(err.Error(), "disruption budget") {
			return fmt.Errorf("a second eviction of %s was not refused by the budget: %w", component, err)
		}
	}
	return nil
}

// force deletes a pod and its requests in flight: those sent within a quarter of a second.
func (s *suite) force(component string) func(context.Context, *result) error {
	return func(ctx context.Context, res *result) error {
		return s.underLoad(ctx, res, expect{failures: steadyRate / 4}, func() error {
			pods, err := s.running(ctx, component)
			if err != nil {
				return err
			}
			if _, err := s.kube(ctx, "-n", namespace, "delete", "pod", pods[0].Metadata.Name, "--grace-period=0", "--force"); err != nil {
				return err
			}
			return s.settled(ctx)
		})
	}
}

// recovery is how long requests may fail after MySQL answers again. Probes detect it within a
// second; pods on a busy machine take longer.
const recovery = 10 * time.Second

// restartMySQL checks that requests which need MySQL are refused with 503, and that no others fail.
func (s *suite) restartMySQL(ctx context.Context, res *result) error {
	var back time.Time
	err := s.underLoad(ctx, res, expect{failures: -1, kinds: map[string]bool{"503": true}}, func() (err error) {
		back, err = s.outage(ctx, s.mysql)
		return err
	})
	if err != nil {
		return err
	}
	if res.load.Failed > 0 {
		res.note = fmt.Sprintf("503 for %.1f s", res.load.Last.Sub(res.load.First).Seconds())
		if late := res.load.Last.Sub(back); late > recovery {
			return fmt.Errorf("requests failed until %s after MySQL was back", late)
		}
	}
	return s.allReady(ctx)
}

// allReady checks that no pod was restarted because of another server's fault.
func (s *suite) allReady(ctx context.Context) error {
	out, err := s.kube(ctx, "-n", namespace, "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	if err != nil {
		return err
	}
	if strings.Trim(out, "0 ") != "" {
		return fmt.Errorf("containers were restarted: %s", out)
	}
	return nil
}

// outage kills a server for five seconds and returns the time of its restart.
func (s *suite) outage(ctx context.Context, v *server) (back time.Time, err error) {
	if err := errors.Join(traffic.Pause(ctx, 3*time.Second), v.kill(), traffic.Pause(ctx, 5*time.Second), v.Start()); err != nil {
		return time.Time{}, err
	}
	return time.Now(), traffic.Pause(ctx, 5*time.Second)
}

// scale raises the load until api's autoscaler adds pods, and lowers it until they are removed. The
// autoscaler waits 10 s, not 5 minutes, before it removes a pod.
func (s *suite) scale(ctx context.Context, res *result) error {
	quick := patch{
		Target: map[string]string{"kind": "HorizontalPodAutoscaler"},
		Patch: `[{"op":"replace","path":"/spec/behavior/scaleDown","value":{"stabilizationWindowSeconds":10,"policies":[{"type":"Pods","value":2,"periodSeconds":10}]}},
{"op":"replace","path":"/spec/maxReplicas","value":3}]`,
	}
	low := patch{ // so that this machine can make a high load
		Target: map[string]string{"kind": "Deployment", "name": "shares-api"},
		Patch:  `[{"op":"replace","path":"/spec/template/spec/containers/0/resources/requests/cpu","value":"50m"}]`,
	}
	if err := errors.Join(s.deploy(ctx, first, quick, low), s.settled(ctx)); err != nil {
		return err
	}
	if err := s.startLoad(ctx, 4*steadyUsers, 6*steadyRate); err != nil {
		return err
	}
	err := s.underLoad(ctx, res, expect{}, func() error {
		count := func() (int, error) {
			pods, err := s.running(ctx, "api")
			return len(pods), err
		}
		most := 0
		if err := until(ctx, 10*time.Minute, "a third pod of api", func() (bool, error) {
			n, err := count()
			most = max(most, n)
			return n >= 3, err
		}); err != nil {
			return err
		}
		if err := traffic.Pause(ctx, 10*time.Second); err != nil {
			return err
		}
		if err := s.failedSoFar(ctx); err != nil {
			return err
		}
		if err := s.startLoad(ctx, steadyUsers, steadyRate/4); err != nil {
			return err
		}
		res.note = fmt.Sprintf("2 to %d pods and back", most)
		// If a pod's metrics are late, the autoscaler assumes full CPU use.
		if err := until(ctx, 10*time.Minute, "two pods of api", func() (bool, error) {
			n, err := count()
			return n == 2, err
		}); err != nil {
			return err
		}
		return s.settled(ctx)
	})
	return errors.Join(err, s.deploy(ctx, first), s.settled(ctx), s.startLoad(ctx, steadyUsers, steadyRate))
}

// failedSoFar checks a load that is about to be replaced.
func (s *suite) failedSoFar(ctx context.Context) error {
	if err := s.tell(ctx, "/verify", nil); err != nil {
		return err
	}
	stats, err := s.stats(ctx)
	if err != nil {
		return err
	}
	return expect{}.check(stats)
}

func (s *suite) drain(ctx context.Context, res *result) error {
	err := s.underLoad(ctx, res, expect{}, func() error {
		if _, err := s.kube(ctx, "drain", s.victim, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=600s"); err != nil {
			return err
		}
		return s.settled(ctx)
	})
	_, uncordonErr := s.kube(ctx, "uncordon", s.victim)
	if err = errors.Join(err, uncordonErr); err != nil {
		return err
	}
	// Pods do not move back on their own.
	return errors.Join(s.restart(ctx, "api"), s.restart(ctx, "rpc"), s.settled(ctx))
}

// nodeLoss is how long requests may fail after a node is killed. The node controller waits 50 s
// before it removes a silent node's pods from Services.
const nodeLoss = 75 * time.Second

func (s *suite) loseNode(ctx context.Context, res *result) error {
	var killed time.Time
	err := s.underLoad(ctx, res, expect{failures: -1}, func() error {
		if _, err := command(ctx, nil, s.killNode, s.victim); err != nil {
			return err
		}
		killed = time.Now()
		if err := traffic.Pause(ctx, nodeLoss); err != nil {
			return err
		}
		for _, component := range []string{"api", "rpc"} {
			if err := until(ctx, 5*time.Minute, component+" on "+s.keep, func() (bool, error) {
				pods, err := s.running(ctx, component)
				for _, p := range pods {
					if p.Spec.NodeName != s.keep {
						return false, err
					}
				}
				return len(pods) > 0, err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if res.load.Failed > 0 {
		gone := res.load.Last.Sub(killed)
		res.note = fmt.Sprintf("requests failed until %.0f s after", gone.Seconds())
		if gone > nodeLoss {
			return fmt.Errorf("requests failed until %s after the node was killed", gone)
		}
	}
	return nil
}
