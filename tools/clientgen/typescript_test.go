package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGenerate(t *testing.T) {
	const golden = "testdata/every_form.ts"
	to := filepath.Join(t.TempDir(), "generated.ts")
	if err := run("testdata/every_form.api", to); err != nil {
		t.Fatal(err)
	}
	got := read(t, to)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != read(t, golden) {
		t.Errorf("not what %s says (-update rewrites it):\n%s", golden, got)
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "a.ts"), filepath.Join(t.TempDir(), "b.ts")
	for _, to := range []string{first, second} {
		if err := run("../../shares.api", to); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := read(t, first), read(t, second); a != b {
		t.Errorf("two runs differ:\n%s\n---\n%s", a, b)
	}
}

// A form that the client does not have fails; it is not left out.
func TestGenerateRefuses(t *testing.T) {
	const types = "type (\n\tReq {\n\t\tA string `json:\"a\"`\n\t}\n\tResp {}\n)\n"
	for _, tt := range []struct{ name, api, want string }{
		{"GET with a body", types + "service s {\n\t@handler H\n\tget /h (Req) returns (Resp)\n}\n", "use the tag form"},
		{"path parameter without a field", types + "service s {\n\t@handler H\n\tpost /h/:id (Req) returns (Resp)\n}\n", "no field `path:\"id\"`"},
		{"path field without a parameter", "type Req {\n\tA string `path:\"a\"`\n}\nservice s {\n\t@handler H\n\tpost /h (Req)\n}\n", "the path does not name"},
		{"list as request", types + "service s {\n\t@handler H\n\tpost /h ([]Req) returns (Resp)\n}\n", "must be struct"},
		{"two tags", "type Req {\n\tA string `form:\"a\" json:\"a\"`\n}\nservice s {\n\t@handler H\n\tpost /h (Req) returns (Req)\n}\n", "want one tag"},
		{"no api", "nonsense", "syntax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := filepath.Join(t.TempDir(), "x.api")
			content := tt.api
			if tt.name != "no api" {
				content = "syntax = \"v1\"\n\n" + content
			}
			if err := os.WriteFile(from, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			err := run(from, filepath.Join(t.TempDir(), "x.ts"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
