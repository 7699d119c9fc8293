package process

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	for _, tt := range []struct {
		pro   bool
		level string
		want  int // lines of two, one at debug and one at warn
	}{
		{false, "info", 1}, {true, "info", 1}, {false, "debug", 2}, {true, "error", 0},
	} {
		var out bytes.Buffer
		log, stop := Logger(&out, tt.pro, tt.level)
		log.Debug("a line")
		log.Warn("a line")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "a line"); got != tt.want {
			t.Errorf("pro %v, level %s: got %d lines, want %d", tt.pro, tt.level, got, tt.want)
		}
		for line := range strings.Lines(out.String()) {
			if isJSON := json.Valid([]byte(line)); isJSON != tt.pro {
				t.Errorf("pro %v: JSON %v: %s", tt.pro, isJSON, line)
			}
		}
	}
}

// A log that is not read does not block its writers.
func TestBlockedLog(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	log, _ := Logger(w, true, "info")
	for range 2 * linesWaiting {
		log.Info("a line")
	}
}
