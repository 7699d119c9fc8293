//go:build workflow

package tasks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"shares/test/workflow/tree"
)

func contains(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not hold %q:\n%s", what, word, text)
		}
	}
}

// fails runs a command that must fail. Its output must contain each of the words.
func fails(t *testing.T, copied tree.Tree, line string, words ...string) {
	t.Helper()
	out, err := copied.Try(line, "")
	if err == nil {
		t.Errorf("%s passes, want a failure", line)
	}
	contains(t, line, out, words...)
}

// check is `make check-gen` without the installation of its tools.
const check = "go -C tools run ./gen -check"

// The tasks follow each other in one copy of the tree: a stored field, a GET endpoint, a second
// group with a table, a renamed field of a response, plain goctl, a removed endpoint and a renamed
// request type.
func TestTasks(t *testing.T) {
	const capacity, entry = "api/internal/logic/weixin/get_capacity_logic.go", "api/internal/logic/weixin/get_entry_logic.go"
	copied := tree.Copy(t, "../../..")
	apply := func(name string) {
		t.Helper()
		diff, err := os.ReadFile(filepath.Join("testdata", name+".diff"))
		if err != nil {
			t.Fatal(err)
		}
		copied.Apply(t, string(diff))
	}

	// Plain goctl generates the same code as make gen.
	apply("1-contracts")
	plainGoctl(t, copied)
	contains(t, check, copied.Run(t, check), "left to fill", capacity, entry, "api/internal/logic/notes/add_note_logic.go")
	contains(t, "routes.go", copied.Read(t, "api/internal/handler/routes.go"), `"/shares/api/v1/notes"`, "http.MethodGet", "/entries/:id")
	contains(t, "the document", copied.Read(t, "docs/openapi.json"), "/shares/api/v1/entries/{id}")
	contains(t, "the client", copied.Read(t, "client/src/generated.ts"), `lang?: "zh_CN" | "en"`, "level?: number | null")

	// The code does not build while it sets the removed field.
	fails(t, copied, "go build ./api/...", "upload_avatar_logic.go", "Url")
	apply("2-renamed-field")
	// Without the handwritten lines, tests name the stored field.
	fails(t, copied, "go test ./rpc/internal/profile ./api/internal/logic/weixin", "User leaves out level",
		"level of UpdateProfileReq has no rule", "GetUserInfoResp.Level", `"level"`)
	apply("3-code")

	apply("4-removed-and-renamed")
	contains(t, "gen", copied.Gen(t), "not used", capacity, "signatures that no longer fit", entry+":", "*types.EntryReq")
	fails(t, copied, check, capacity, entry)
	copied.Run(t, "rm "+capacity)
	copied.Write(t, entry, strings.ReplaceAll(copied.Read(t, entry), "types.GetEntryReq", "types.EntryReq"))
	copied.Run(t, check)

	copied.Run(t, "go vet ./api/... ./rpc/... ./model/...")
	copied.Run(t, "go test -vet=off ./api ./api/internal/logic/... ./rpc/internal/logic ./rpc/internal/profile ./model/migrations")
	copied.Run(t, "go test -vet=off ./model ./internal/app -run Note|UpdateProfile|User|Migrate")
	copied.Run(t, "go test -vet=off ./test/contract -run TestLevel|TestGetEntry|TestContract/embedded/plain/(update|upset)_user_info")
}

var protocVersion = regexp.MustCompile(`(?m)^// -?\s*protoc\s+v.*\n`)

// plainGoctl runs the commands of docs/changing.md that do not need make.
func plainGoctl(t *testing.T, copied tree.Tree) {
	t.Helper()
	lines := ""
	for _, b := range tree.Blocks(copied.Read(t, "docs/changing.md")) {
		if b.Language == "text" {
			lines = b.Text
		}
	}
	_, lines, ok := strings.Cut(lines, "\n") // the first line builds the tools
	if !ok {
		t.Fatal("docs/changing.md shows no commands for plain goctl")
	}
	if out, err := copied.Try("sh -eu", lines); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"rpc/pb/weixin.pb.go", "rpc/pb/weixin_grpc.pb.go"} {
		copied.Write(t, name, protocVersion.ReplaceAllString(copied.Read(t, name), ""))
	}
}
