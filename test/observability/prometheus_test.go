package observability

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"shares/internal/testenv"
	"shares/simulator"
	"shares/test/testprocess"
	"shares/test/traffic"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// panel is a panel of the dashboard, for the namespace shares.
type panel struct {
	Title, Description string
	Targets            []struct{ Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal([]byte(read(t, "deploy/observability/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	return dashboard.Panels
}

// TestMetricsExist runs every panel's query in a Prometheus that scrapes api and rpc under load, with
// a wrong secret for one call to WeChat and a broken bucket. Every selector of alerts and panels finds
// series that have all labels of the expression and of its text.
func TestMetricsExist(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the metrics of the process are those of Linux")
	}
	s := install(t)
	prometheus := scrape(t, s.admin)
	s.load(t)
	queries := map[string]string{}
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$namespace", "shares", "$__rate_interval", "1m").Replace(target.Expr)
			queries[expr] = "panel " + p.Title
			for _, q := range selectors(expr, target.LegendFormat) {
				queries[q] = "panel " + p.Title
			}
		}
	}
	_, all := alerts(t)
	for _, a := range all {
		for _, q := range selectors(a.Expr, a.Annotations["summary"]) {
			queries[q] = "alert " + a.Alert
		}
	}
	for deadline := time.Now().Add(time.Minute); len(queries) > 0; time.Sleep(100 * time.Millisecond) {
		for q, of := range queries {
			if found, err := prometheus(t.Context(), q); err == nil && found {
				delete(queries, q)
			} else if time.Now().After(deadline) {
				t.Errorf("%s: nothing matches %s: %v", of, q, err)
			}
		}
		if t.Failed() {
			return
		}
	}
	s.spans.compare(t)
}

var (
	selector = regexp.MustCompile(`\b((?:shares|go|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
	mention  = regexp.MustCompile(`\{\{ ?(?:\$labels\.)?([a-z]+) `)
)

// selectors returns the selectors of an expression. Each requires the labels that the expression
// groups by and the text mentions.
func selectors(expr, text string) (all []string) {
	var required []string
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		required = append(required, strings.Split(m[1], ", ")...)
	}
	for _, m := range mention.FindAllStringSubmatch(strings.ReplaceAll(text, "}}", " }}"), -1) {
		required = append(required, m[1])
	}
	slices.Sort(required)
	required = slices.Compact(required)
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		var matchers []string
		if m[2] != "" {
			matchers = append(matchers, m[2])
		}
		for _, label := range required {
			if label == "le" && !strings.HasSuffix(m[1], "_bucket") {
				continue
			}
			matchers = append(matchers, label+`!=""`)
		}
		all = append(all, m[1]+"{"+strings.Join(matchers, ",")+"}")
	}
	return all
}

// installation is api and rpc with a separate simulator.
type installation struct {
	edge   *traffic.Target
	wechat *traffic.Target
	bucket string
	admin  map[string]string // addresses of the metrics, by component
	spans  collector
}

func install(t *testing.T) *installation {
	t.Helper()
	wechat := testprocess.Run(t, testprocess.Options{Args: []string{"simulator", "--listen", "127.0.0.1:0"}})
	s := &installation{bucket: filepath.Join(t.TempDir(), "bucket"), admin: map[string]string{}}
	users := free(t)
	env := map[string]string{
		"SHARES_MODE": "pro", "SHARES_PUBLIC_URL": "http://shares.example.test",
		"MYSQL_DSN": testenv.MariaDB(t).Database(t), "REDIS_ADDR": testenv.Redis(t).Addr(),
		"SESSION_SECRET": "observability-suite-session-secret-0123456789", "QRCODE_BUCKET": "file://" + s.bucket,
		"WECHAT_BASE_URL": wechat.URL(), "WECHAT_APPID": simulator.DefaultAppID, "WECHAT_SECRET": simulator.DefaultSecret,
		"WECHAT_PUSH_TOKEN": simulator.DefaultPushToken, "WECHAT_PUSH_AES_KEY": simulator.DefaultPushAESKey,
		"SHARES_OTLP_ENDPOINT": s.spans.listen(t), "SHARES_TRACE_SAMPLE": "1",
		"SHARES_RPC_LISTEN": users, "WEIXIN_RPC_TARGET": "dns:///" + users,
	}
	if out, code, err := testprocess.Once(t.Context(), testprocess.Options{Args: []string{"migrate"}, Env: env}); err != nil || code != 0 {
		t.Fatalf("shares migrate: code %d, %v\n%s", code, err, out)
	}
	var edge *testprocess.Process
	for _, name := range []string{"rpc", "api"} {
		s.admin[name] = free(t)
		env["SHARES_ADMIN_LISTEN"] = s.admin[name]
		edge = testprocess.Run(t, testprocess.Options{Args: []string{name}, Env: env})
	}
	s.edge, s.wechat = target(edge), target(wechat)
	return s
}

func target(p *testprocess.Process) *traffic.Target {
	return &traffic.Target{URL: p.URL(), Client: &http.Client{Timeout: time.Minute}}
}

func free(t *testing.T) string {
	t.Helper()
	address, err := testenv.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// load sends requests until the test ends, after one new QR code, one that WeChat refuses because of
// the app's settings, and the loss of the bucket.
func (s *installation) load(t *testing.T) {
	t.Helper()
	people, err := traffic.LogIn(t.Context(), []*traffic.Target{s.edge}, s.wechat.URL, "user", 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	people.Renewers = people.Readers
	code := func(want int) {
		if _, a := s.edge.QRCode(t.Context(), people.Readers[0].Session(), people.NewScene()); a.Status != want {
			t.Fatalf("new QR code: %v, want status %d", a.Failure(), want)
		}
	}
	code(http.StatusOK)
	fault := map[string]any{"endpoint": "/wxa/getwxacodeunlimit", "kind": "errcode", "errcode": 40125}
	if err := traffic.Request(t.Context(), s.wechat.Client, http.MethodPost, s.wechat.URL+"/simulator/faults", "", fault).Failure(); err != nil {
		t.Fatal(err)
	}
	code(http.StatusServiceUnavailable)
	if err := errors.Join(os.RemoveAll(s.bucket), os.WriteFile(s.bucket, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	load := &traffic.Load{
		Targets: []*traffic.Target{s.edge}, Codes: s.wechat.URL, Rate: 50, People: people, Ledger: traffic.NewLedger(people.Writers),
		Mix: []traffic.Share{{Kind: traffic.Read, Parts: 4}, {Kind: traffic.Renew, Parts: 2}, {Kind: traffic.Write, Parts: 2},
			{Kind: traffic.Login, Parts: 1}, {Kind: traffic.NewCode, Parts: 1}},
	}
	load.Start(t.Context())
	t.Cleanup(load.Stop)
}

// collector is an OpenTelemetry collector that keeps the names of the spans.
type collector struct {
	otlp.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names map[string]bool
}

func (c *collector) listen(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.names = map[string]bool{}
	server := grpc.NewServer()
	otlp.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// Export implements otlp.TraceServiceServer.
func (c *collector) Export(_ context.Context, r *otlp.ExportTraceServiceRequest) (*otlp.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.names[span.Name] = true
			}
		}
	}
	return &otlp.ExportTraceServiceResponse{}, nil
}

// command is a span of go-redis, named by its command. It includes "sql", go-zero's name.
var command = regexp.MustCompile(`^[a-z]+$`)

// compare waits until the page lists exactly the spans received. "…" stands for the rest of a name.
func (c *collector) compare(t *testing.T) {
	t.Helper()
	listed := regexp.MustCompile("(?m)^\\| `([^`]+)` ").FindAllStringSubmatch(section(t, "Spans"), -1)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		c.mu.Lock()
		unlisted := maps.Clone(c.names)
		c.mu.Unlock()
		var missing []string
		for _, m := range listed {
			prefix, open := strings.CutSuffix(m[1], "…")
			before := len(unlisted)
			maps.DeleteFunc(unlisted, func(name string, _ bool) bool {
				return name == m[1] || open && strings.HasPrefix(name, prefix)
			})
			if len(unlisted) == before {
				missing = append(missing, m[1])
			}
		}
		maps.DeleteFunc(unlisted, func(name string, _ bool) bool { return command.MatchString(name) })
		if len(missing)+len(unlisted) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s, table under \"Spans\": add %v, remove %q", page, unlisted, missing)
		}
	}
}

// scrape starts a Prometheus with the labels of the ServiceMonitor. The function that it returns
// reports whether a query finds series.
func scrape(t *testing.T, admin map[string]string) func(ctx context.Context, query string) (bool, error) {
	t.Helper()
	type node = map[string]any
	var targets []node
	for component, address := range admin {
		targets = append(targets, node{"targets": []string{address},
			"labels": node{"namespace": "shares", "pod": "shares-" + component, "component": component}})
	}
	config := write(t, "prometheus.yaml", node{
		"global":         node{"scrape_interval": "1s", "scrape_timeout": "1s"},
		"scrape_configs": []node{{"job_name": "shares-metrics", "static_configs": targets}},
	})
	address := free(t)
	p := testenv.NewProcess(testenv.Program{
		Path: "prometheus", Ready: regexp.MustCompile("Server is ready to receive web requests"),
		Args: []string{"--config.file=" + config, "--storage.tsdb.path=" + t.TempDir(), "--web.listen-address=" + address},
	})
	if err := p.Start(); err != nil {
		t.Fatalf("%v (tools/install.sh prometheus installs it)", err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	server := &traffic.Target{URL: "http://" + address, Client: http.DefaultClient}
	return func(ctx context.Context, query string) (bool, error) {
		var got struct{ Data struct{ Result []any } }
		err := server.Get(ctx, "/api/v1/query?query="+url.QueryEscape(query)).Into(&got)
		return len(got.Data.Result) > 0, err
	}
}
