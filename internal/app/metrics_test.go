package app

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// descriptor matches the text of a prometheus.Desc.
var descriptor = regexp.MustCompile(`fqName: "(shares_\w+)", help: "(.*)", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}`)

// TestMetricsAreListed compares docs/observability.md with what serve and rpc register.
func TestMetricsAreListed(t *testing.T) {
	p, _ := edge(t, "PushToken: t\nDrain: 0s\nRPCListen: 127.0.0.1:0")
	p.service.Services(nil)
	ended, end := context.WithCancel(t.Context())
	end()
	open(t, p.service.Serve(ended))
	content, err := os.ReadFile("../../docs/observability.md")
	open(t, err)
	descs := make(chan *prometheus.Desc)
	go func() { p.metrics.Describe(descs); close(descs) }()
	listed := string(content)
	for d := range descs {
		m := descriptor.FindStringSubmatch(d.String())
		if m == nil {
			continue // of a library
		}
		labels := strings.FieldsFunc(m[3]+","+m[4], func(r rune) bool { return r == ',' })
		for i, label := range labels {
			label, _, _ = strings.Cut(label, "=")
			labels[i] = "`" + label + "`"
		}
		row := "| `" + m[1] + "` | " + strings.Join(labels, ", ") + " | " + strings.ReplaceAll(m[2], `\"`, `"`) + " |\n"
		if !strings.Contains(listed, row) {
			t.Errorf("docs/observability.md: add to the table under \"Metrics\":\n%s", row)
		}
		listed = strings.Replace(listed, row, "", 1)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `shares_.*$").FindAllString(listed, -1) {
		t.Errorf("docs/observability.md: no process registers this metric, remove it:\n%s", row)
	}
}
