package process

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pro   bool
		level string
		want  string // the levels seen of a debug and a warn line
	}{
		{"text", false, "info", "warn"},
		{"JSON", true, "info", "warn"},
		{"everything", false, "debug", "debug warn"},
		{"errors only", true, "error", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			log, stop := Logger(&out, tt.pro, tt.level)
			log.Debug("debug line")
			log.Warn("warn line")
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			var seen []string
			for line := range strings.Lines(out.String()) {
				if isJSON := json.Valid([]byte(line)); isJSON != tt.pro {
					t.Errorf("JSON %v: %s", isJSON, line)
				}
				for _, word := range []string{"debug", "warn"} {
					if strings.Contains(line, word+" line") {
						seen = append(seen, word)
					}
				}
			}
			if got := strings.Join(seen, " "); got != tt.want {
				t.Errorf("seen %q, want %q", got, tt.want)
			}
		})
	}
}
