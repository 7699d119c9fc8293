// Package workflow replays docs/changing.md in a copy of the tree: its diffs apply, its code is
// generated, and the tests of the changed packages pass.
package workflow

import (
	"strings"
	"testing"

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
			_, name, _ = strings.Cut(name, " ") // after the comment mark
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

	if len(generated) != 4 {
		t.Fatalf("the tutorial generates %d times, want 4", len(generated))
	}
	for i, endpoint := range []string{"get_capacity", "get_setting"} {
		want := "left to fill:\n  api/internal/logic/weixin/" + endpoint + "_logic.go"
		if out := generated[2+i]; !strings.Contains(out, want) {
			t.Errorf("make gen did not print %q:\n%s", want, out)
		}
	}
	for _, out := range generated[:2] {
		if strings.Contains(out, "left to fill") {
			t.Errorf("make gen names files to fill, want none:\n%s", out)
		}
	}
	for file, want := range map[string]string{
		"client/src/generated.ts": `"rg" | "only20"`, "docs/openapi.json": "/settings/{key}",
	} {
		if !strings.Contains(copied.Read(t, file), want) {
			t.Errorf("%s does not hold %q after the tutorial", file, want)
		}
	}
	for _, line := range []string{
		"gofmt -l api rpc model test",
		"go vet ./api/... ./rpc/... ./model/... ./test/contract",
		"staticcheck ./api/... ./rpc/... ./test/contract",
		"go test -vet=off ./api ./api/internal/logic/... ./rpc/internal/logic ./rpc/internal/profile ./model/migrations",
		"go test -vet=off ./model ./internal/app -run UpdateProfile|User|Migrate",
		"go test -vet=off ./test/contract -run TestContract/embedded/plain|TestBio|TestGetCapacity|TestGetSetting",
	} {
		out := copied.Run(t, line)
		if strings.HasPrefix(line, "gofmt") && out != "" {
			t.Errorf("not formatted:\n%s", out)
		}
	}
}
