// Package observability tests the alerts, the dashboard and their reference with promtool and a
// Prometheus that scrapes a running service.
package observability

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const top = "../.."

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// alerts writes the rules for promtool and Prometheus to a file, and returns its name and the alerts.
func alerts(t *testing.T) (file string, all []alert) {
	t.Helper()
	var rule struct{ Spec yaml.Node }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/observability/alerts.yaml")), &rule); err != nil {
		t.Fatal(err)
	}
	var spec struct{ Groups []struct{ Rules []alert } }
	if err := rule.Spec.Decode(&spec); err != nil {
		t.Fatal(err)
	}
	for _, g := range spec.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return write(t, "rules.yaml", rule.Spec), all
}

func TestEveryAlertHasARunbook(t *testing.T) {
	content := read(t, "docs/operations.md")
	_, all := alerts(t)
	for _, a := range all {
		_, rest, found := strings.Cut(content, "\n### "+a.Alert+"\n\n")
		paragraph, _, _ := strings.Cut(rest, "\n\n")
		if !found || len(paragraph) < 100 {
			t.Errorf("%s has no paragraph in docs/operations.md", a.Alert)
		}
		if want := "docs/operations.md#" + strings.ToLower(a.Alert); a.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %q", a.Alert, a.Annotations["runbook"], want)
		}
	}
}

// incident is what makes an alert fire.
type incident struct {
	// series are lines of a series, its value in normal operation, and its value while the alert
	// must fire; of a counter, the increase in a minute.
	series  string
	labels  map[string]string // of the alert, beside the rule's own
	summary string
}

var incidents = map[string]incident{
	"SharesDown": {`up{job="shares-metrics"} 1 0`, nil, "Prometheus reaches no pod of shares"},
	"SharesErrors": {`shares_http_requests_total{route="/a",status="200"} 60 57
		shares_http_requests_total{route="/a",status="503"} 0 3`, nil, "5% of all responses are 5xx"},
	"SharesSlow": {`shares_http_request_seconds_bucket{route="/a",le="0.5"} 60 0
		shares_http_request_seconds_bucket{route="/a",le="2.5"} 60 60
		shares_http_request_seconds_bucket{route="/a",le="+Inf"} 60 60`,
		map[string]string{"route": "/a"}, "p99 of /a is 2.48s"},
	"SharesOverloaded": {`shares_http_in_flight{pod="a"} 700 900
		shares_http_in_flight{pod="b"} 1 1`, nil,
		"a pod has 900 concurrent requests; above SHARES_MAX_IN_FLIGHT (1024) it answers 503"},
	"SharesRefusing": {`shares_limit_refused_total{limit="login"} 0 120
		shares_limit_refused_total{limit="user"} 30 30`,
		map[string]string{"limit": "login"}, "the login limit refuses 2 requests a second"},
	"SharesLoginsUnlimited": {`shares_limit_open_total 0 6`, nil,
		"the login limit fails open, because Redis does not answer"},
	"SharesProxyNotTrusted": {`shares_forwarded_for_ignored_total 0 6`, nil,
		"X-Forwarded-For comes from a proxy that is not in SHARES_TRUSTED_PROXIES"},
	"SharesRedisDown": {`shares_cache_redis_used{pod="a"} 1 0
		shares_cache_redis_used{pod="b"} 1 1`,
		map[string]string{"pod": "a"}, "a has no Redis; it reads rows from MySQL"},
	"SharesInvalidationsPending": {`shares_cache_pending_invalidations{pod="a"} 0 3`,
		map[string]string{"pod": "a"}, "a has 3 invalidations that Redis has not accepted"},
	"SharesDatabasePoolFull": {`go_sql_in_use_connections{db_name="shares",pod="a"} 5 19
		go_sql_max_open_connections{db_name="shares",pod="a"} 20 20`,
		map[string]string{"pod": "a"}, "a uses 95% of its connections to MySQL"},
	"SharesWechatMisconfigured": {`shares_wechat_misconfigured{code="40125",endpoint="code2session"} _ 1`,
		map[string]string{"code": "40125"},
		"WeChat answers 40125: the settings of the mini program are wrong, logins fail"},
	"SharesWechatFailing": {`shares_wechat_calls_total{endpoint="code2session",errcode="0"} 30 30
		shares_wechat_calls_total{endpoint="code2session",errcode="40029"} 20 20
		shares_wechat_calls_total{endpoint="code2session",errcode="-1"} 0 50`,
		map[string]string{"endpoint": "code2session"},
		"50% of the calls to code2session fail for a reason that is not a user's"},
	"SharesTokenChurn": {`shares_wechat_token_fetches_total{reason="rejected"} 0 1`, nil,
		"30 access tokens fetched in 30 minutes: another program invalidates them"},
	"SharesPushFailing": {`shares_push_messages_total{event="user_info_modified",result="failed"} 0 1
		shares_push_messages_total{event="user_info_modified",result="done"} 5 5`,
		map[string]string{"event": "user_info_modified"},
		"user_info_modified of WeChat's message push failed; after three tries it is lost"},
	"SharesQRCodesFailing": {`shares_qrcode_generations_total{result="ok"} 30 30
		shares_qrcode_generations_total{result="user_cap"} 10 10
		shares_qrcode_generations_total{result="quota"} 0 40`, nil, "50% of the new QR codes fail"},
	"SharesPicturesFailing": {`shares_pictures_calls_total{call="put",result="ok"} 30 30
		shares_pictures_calls_total{call="put",result="error"} 0 10`, nil,
		"25% of the calls to the picture bucket fail"},
	"SharesMemory": {`process_resident_memory_bytes{job="shares-metrics",pod="a"} 100 210
		go_gc_gomemlimit_bytes{job="shares-metrics",pod="a"} 200 200`,
		map[string]string{"pod": "a"}, "a uses more memory than GOMEMLIMIT, 90% of its limit"},
}

var counter = regexp.MustCompile(`_(total|bucket)(\{|$)`)

// values returns a series of 30 good minutes, 30 bad ones and 60 good ones.
func values(name, good, bad string) string {
	all, sum := make([]string, 120), 0
	for i := range all {
		v := good
		if i/30 == 1 {
			v = bad
		}
		if counter.MatchString(name) {
			n, _ := strconv.Atoi(v)
			sum += n
			v = strconv.Itoa(sum)
		}
		all[i] = v
	}
	return strings.Join(all, " ")
}

// Every alert is inactive in normal operation, fires in its incident, and resolves later.
func TestAlertsFireAndResolve(t *testing.T) {
	type node = map[string]any
	file, all := alerts(t)
	var tests []node
	for _, a := range all {
		i, ok := incidents[a.Alert]
		if !ok {
			t.Errorf("incidents has no entry for %s", a.Alert)
			continue
		}
		var series []node
		for line := range strings.Lines(i.series) {
			f := strings.Fields(line)
			series = append(series, node{"series": f[0], "values": values(f[0], f[1], f[2])})
		}
		labels := maps.Clone(a.Labels)
		maps.Copy(labels, i.labels)
		fires := node{"exp_labels": labels, "exp_annotations": node{"summary": i.summary, "runbook": a.Annotations["runbook"]}}
		tests = append(tests, node{"name": a.Alert, "interval": "1m", "input_series": series, "alert_rule_test": []node{
			{"eval_time": "29m", "alertname": a.Alert},
			{"eval_time": "59m", "alertname": a.Alert, "exp_alerts": []node{fires}},
			{"eval_time": "119m", "alertname": a.Alert},
		}})
	}
	promtool(t, "check", "rules", file)
	promtool(t, "test", "rules", write(t, "tests.yaml", node{"rule_files": []string{file}, "tests": tests}))
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool (tools/install.sh prometheus installs it): %v\n%s", err, out)
	}
}

func write(t *testing.T, name string, v any) (file string) {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
