//go:build cluster

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"shares/simulator"
)

// Releases of the service. The second has more migrations than the first.
const (
	imageName   = "localhost/shares"
	loaderImage = "localhost/shares-loader:suite"
	first       = "suite-1"
	second      = "suite-2"
	missing     = "suite-none" // is never built
)

// slowMigration makes the second release's Job slow enough to show that pods wait for it.
const slowMigration = "-- +goose Up\nDO SLEEP(8);\n"

const newColumn = "-- +goose Up\nALTER TABLE wx_userinfo ADD COLUMN suite_note VARCHAR(16) NOT NULL DEFAULT '';\n"

// prepare builds and loads the images, starts the servers beside the cluster, and chooses the
// nodes.
func (s *suite) prepare() {
	s.chooseNodes()
	s.uninstall()
	s.Logf("nodes: %s stays, %s is drained and killed", s.keep, s.victim)
	for _, image := range [][]string{
		{"-t", imageName + ":" + first},
		{"-t", imageName + ":" + second, "--", "-overlay", s.overlay()},
		{"-t", loaderImage, "-p", "./test/cluster/loader"},
	} {
		archive := filepath.Join(s.dir, "image.tar")
		s.run("deploy/image.sh -o "+archive, image...)
		s.run(s.loadImage, archive)
	}
	s.startBeside()
	s.startLoader()
}

// overlay returns a file for `go build -overlay` that adds two migrations to both dialects, after
// all others.
func (s *suite) overlay() string {
	replace := make(map[string]string)
	for name, content := range map[string]string{
		"both/99998_suite.sql":   newColumn,
		"mysql/99999_suite.sql":  slowMigration,
		"sqlite/99999_suite.sql": "-- +goose Up\nSELECT 1;\n",
	} {
		target, err := filepath.Abs("model/migrations/" + name)
		s.check(err)
		replace[target] = s.file(strings.ReplaceAll(name, "/", "-"), content)
	}
	return s.file("overlay.json", s.json(map[string]any{"Replace": replace}))
}

// chooseNodes chooses two schedulable nodes; the last is drained and killed.
func (s *suite) chooseNodes() {
	names := strings.Fields(s.kube("get", "nodes", "-o",
		"go-template={{range .items}}{{if not .spec.taints}}{{.metadata.name}} {{end}}{{end}}"))
	if len(names) < 2 {
		s.Fatalf("got %d schedulable nodes, want two", len(names))
	}
	s.keep, s.victim = names[0], names[len(names)-1]
}

func (s *suite) startLoader() {
	manifest := fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: loader, namespace: %[1]s}
spec:
  enableServiceLinks: false
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: %[2]s}
  containers:
  - name: loader
    image: %[3]s
    imagePullPolicy: Never
    args: [""]
    env:
    - {name: SERVICE, value: "%[4]s"}
    - {name: CODES, value: "http://%[5]s"}
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`, loadNamespace, s.keep, loaderImage, serviceURL, s.at(simulatorPort))
	s.apply(manifest)
	s.kube("-n", loadNamespace, "wait", "--for=condition=Ready", "pod/loader", "--timeout=300s")
}

// secrets creates the Secrets of the overlays, like examples/secrets.yaml.
func (s *suite) secrets() {
	secrets := map[string]map[string]string{
		"shares-session": {"SESSION_SECRET": s.secret},
		"shares-users": {
			"MYSQL_DSN":     "shares:shares@tcp(mysql." + loadNamespace + ".svc.cluster.local:" + mysqlPort + ")/shares",
			"WECHAT_APPID":  simulator.DefaultAppID,
			"WECHAT_SECRET": simulator.DefaultSecret,
		},
		"shares-store": {
			"REDIS_ADDR":            "redis." + loadNamespace + ".svc.cluster.local:" + redisPort,
			"QRCODE_BUCKET":         "s3://" + bucket + "?region=us-east-1&s3ForcePathStyle=true&endpoint=http://" + s.at(s3Port),
			"AWS_ACCESS_KEY_ID":     "suite",
			"AWS_SECRET_ACCESS_KEY": "suite",
		},
	}
	for name, data := range secrets {
		s.apply(s.json(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "stringData": data,
			"metadata": map[string]any{"name": name, "namespace": namespace},
		}))
	}
}

// database gives MariaDB and Redis names in the cluster, with Services without selectors.
func (s *suite) database() {
	var manifest strings.Builder
	for name, port := range map[string]string{"mysql": mysqlPort, "redis": redisPort} {
		fmt.Fprintf(&manifest, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec: {ports: [{name: tcp, port: %[3]s}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: %[2]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: tcp, port: %[3]s, protocol: TCP}]
endpoints: [{addresses: ["%[4]s"]}]
`, name, loadNamespace, port, s.address)
	}
	s.apply(manifest.String())
}

var (
	newName = regexp.MustCompile(`(?m)^  newName: .*$`)
	newTag  = regexp.MustCompile(`(?m)^  newTag: .*$`)
)

// release copies deploy/, sets one overlay's image as an operator would, and adds an overlay with
// the suite's own settings. It returns the folder of the added overlay.
func (s *suite) release(overlay, tag string, patches ...patch) string {
	s.releases++
	root := filepath.Join(s.dir, fmt.Sprintf("release-%d", s.releases))
	s.check(os.CopyFS(root, os.DirFS("deploy")))
	file := filepath.Join(root, "overlays", overlay, "kustomization.yaml")
	content, err := os.ReadFile(file)
	s.check(err)
	content = newName.ReplaceAll(content, []byte("  newName: "+imageName))
	content = newTag.ReplaceAll(content, []byte("  newTag: "+tag))
	s.check(os.WriteFile(file, content, 0o600))
	s.file(fmt.Sprintf("release-%d/overlays/suite/kustomization.yaml", s.releases), fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- ../%s
- policy.yaml
configMapGenerator:
- name: shares-settings
  namespace: shares
  behavior: merge
  literals:
  - WECHAT_BASE_URL=http://%s
patches: %s
`, overlay, s.at(simulatorPort), s.json(append([]patch{}, patches...)))) // JSON is YAML
	// If policies are enforced, the suite needs these paths: in from the loader and the API
	// server's proxy, out to the servers beside the cluster.
	s.file(fmt.Sprintf("release-%d/overlays/suite/policy.yaml", s.releases), fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: suite, namespace: %s}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{ports: [{port: 8080}, {port: 8081}]}]
  egress: [{to: [{ipBlock: {cidr: %s/32}}]}]
`, namespace, s.address))
	return filepath.Join(root, "overlays", "suite")
}

type patch struct {
	Target map[string]string `json:"target"`
	Patch  string            `json:"patch"`
}

func (s *suite) deploy(tag string, patches ...patch) {
	s.Helper()
	s.kube("apply", "-k", s.release("external", tag, patches...))
	s.rolledOut("api", "rpc")
}

func (s *suite) rolledOut(components ...string) {
	s.Helper()
	for _, c := range components {
		s.kube("-n", namespace, "rollout", "status", "deploy/shares-"+c, "--timeout=600s")
	}
}

func (s *suite) uninstall() {
	for _, args := range [][]string{
		{"delete", "namespace", namespace, loadNamespace, devNamespace, "--ignore-not-found", "--timeout=180s"},
		{"delete", "priorityclass", "shares", "--ignore-not-found"},
		{"uncordon", s.victim},
	} {
		if _, err := s.try(args...); err != nil {
			s.Log("uninstall:", err)
		}
	}
}
