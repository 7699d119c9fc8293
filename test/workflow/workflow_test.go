// Package workflow replays docs/changing.md in a copy of the tree: its diffs apply, its code is
// generated, and the tests of what it changes pass.
package workflow

import (
	"strings"
	"testing"
	"time"

	"shares/test/workflow/tree"
)

func TestTutorial(t *testing.T) {
	copied := tree.Copy(t, "../..")
	var generated []string
	for _, b := range tree.Blocks(copied.Read(t, "docs/changing.md")) {
		switch b.Language {
		case "diff":
			copied.Apply(t, b.Text)
		case "sql", "go":
			name, _, _ := strings.Cut(b.Text, "\n")
			_, name, _ = strings.Cut(name, " ") // after the mark of a comment
			copied.Write(t, name, b.Text)
		case "sh":
			switch command := strings.TrimSpace(b.Text); {
			case command == "make gen":
				generated = append(generated, copied.Gen(t))
			case !strings.HasPrefix(command, "go test "): // see below
				t.Fatalf("the tutorial runs more than make gen and go test: %q", command)
			}
		}
	}

	if len(generated) != 3 {
		t.Fatalf("the tutorial generates %d times, want 3", len(generated))
	}
	want := "api/internal/logic/weixin/get_capacity_logic.go"
	if !strings.Contains(generated[2], want) {
		t.Errorf("make gen did not print the file that is left to fill, %s:\n%s", want, generated[2])
	}
	for _, out := range generated[:2] {
		if strings.Contains(out, "left to fill") {
			t.Errorf("make gen names files to fill where there are none:\n%s", out)
		}
	}
	for file, want := range map[string]string{
		"client/src/generated.ts": "bio", "docs/openapi.json": "weixin.get_capacity",
	} {
		if !strings.Contains(copied.Read(t, file), want) {
			t.Errorf("%s does not hold %q after the tutorial", file, want)
		}
	}
	//: the packages that did not change are in the cache, whatever the folder is named.
	for _, line := range []string{
		"gofmt -l api rpc model test",
		"go vet ./api/... ./rpc/... ./model/... ./test/contract",
		"staticcheck ./api/... ./rpc/... ./test/contract",
		"go test ./api/... ./rpc/internal/logic ./rpc/internal/profile ./model/migrations",
		"go test ./model ./internal/app -run UpdateProfile|User|Migrate",
		"go test ./test/contract -run TestContract/embedded/plain|TestBio|TestGetCapacity",
	} {
		start := time.Now()
		out := copied.Run(t, line)
		t.Logf("%s: %s", line, time.Since(start).Round(time.Second))
		if strings.HasPrefix(line, "gofmt") && out != "" {
			t.Errorf("not formatted:\n%s", out)
		}
	}
}
