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

// root is the repository.
const root = "../../.."

// apply applies testdata/<name>.diff.
func apply(t *testing.T, copied tree.Tree, name string) {
	t.Helper()
	diff, err := os.ReadFile(filepath.Join("testdata", name+".diff"))
	if err != nil {
		t.Fatal(err)
	}
	copied.Apply(t, string(diff))
}

// contains fails the test unless the text holds each of the words.
func contains(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not hold %q:\n%s", what, word, text)
		}
	}
}

// check is `make check-gen` without the installation of its tools.
func check(copied tree.Tree) (string, error) { return copied.Try("go -C tools run ./gen -check", "") }

func mustCheck(t *testing.T, copied tree.Tree) {
	t.Helper()
	if out, err := check(copied); err != nil {
		t.Errorf("gen -check: %v\n%s", err, out)
	}
}

func TestStoredField(t *testing.T) {
	copied := tree.Copy(t, root)
	apply(t, copied, "stored_field/1-contract")
	copied.Gen(t)

	// Without the lines by hand, tests name the field.
	out, err := copied.Try("go test ./rpc/internal/profile ./api/internal/logic/weixin", "")
	if err == nil {
		t.Error("the tests pass although the field is nowhere copied")
	}
	contains(t, "go test", out, "User leaves out level", "level of UpdateProfileReq has no rule",
		"GetUserInfoResp.Level", `"level"`)

	apply(t, copied, "stored_field/2-code")
	copied.Run(t, "go test ./api/... ./rpc/internal/logic ./rpc/internal/profile ./model ./model/migrations")
	copied.Run(t, "go test ./test/contract -run TestLevel|TestContract/embedded/plain")
	copied.Run(t, "go test ./internal/app -run User|Migrate")
	mustCheck(t, copied)
}

// What the generated handlers do not serve is refused before anything is written.
func TestGetEndpointIsRefused(t *testing.T) {
	copied := tree.Copy(t, root)
	apply(t, copied, "get_endpoint/1-contract")
	before := copied.Read(t, "api/internal/handler/routes.go")
	out, err := copied.Try("go -C tools run ./gen", "")
	if err == nil {
		t.Error("gen passes although the handlers serve POST alone")
	}
	contains(t, "gen", out, "GET /shares/api/v1/entries/:id", "only POST is served", "nothing was written")
	if copied.Read(t, "api/internal/handler/routes.go") != before {
		t.Error("routes.go was written")
	}
}

func TestSecondGroupWithATable(t *testing.T) {
	copied := tree.Copy(t, root)
	apply(t, copied, "second_group/1-contract")
	contains(t, "gen", copied.Gen(t), "api/internal/logic/notes/add_note_logic.go")
	apply(t, copied, "second_group/2-code")
	contains(t, "routes.go", copied.Read(t, "api/internal/handler/routes.go"), `"/shares/api/v1/notes"`)
	copied.Run(t, "go test ./api/... ./model ./model/migrations")
	mustCheck(t, copied)
}

func TestRenamedResponseField(t *testing.T) {
	copied := tree.Copy(t, root)
	apply(t, copied, "renamed_field/1-contract")
	copied.Gen(t)
	out, err := copied.Try("go build ./api/...", "")
	if err == nil {
		t.Error("the code builds although the field that it sets is gone")
	}
	contains(t, "go build", out, "upload_avatar_logic.go", "Url")
	apply(t, copied, "renamed_field/2-code")
	copied.Run(t, "go test ./api/...")
	mustCheck(t, copied)
}

func TestRemovedEndpoint(t *testing.T) {
	const logic = "api/internal/logic/weixin/get_capacity_logic.go"
	copied := tree.Copy(t, root)
	apply(t, copied, "removed_endpoint/1-added")
	contains(t, "gen", copied.Gen(t), "left to fill", logic)
	apply(t, copied, "removed_endpoint/2-removed")
	contains(t, "gen", copied.Gen(t), "not used", logic)
	out, err := check(copied)
	if err == nil {
		t.Error("gen -check passes although a file is not used")
	}
	contains(t, "gen -check", out, logic)
	copied.Run(t, "rm "+logic)
	copied.Run(t, "go vet ./api/...")
	mustCheck(t, copied)
}

func TestRenamedRequestType(t *testing.T) {
	const logic = "api/internal/logic/weixin/get_capacity_logic.go"
	copied := tree.Copy(t, root)
	apply(t, copied, "renamed_request/1-added")
	copied.Gen(t)
	apply(t, copied, "renamed_request/2-renamed")
	contains(t, "gen", copied.Gen(t), "signatures that no longer fit", logic+":", "*types.CapacityReq")
	if _, err := check(copied); err == nil {
		t.Error("gen -check passes although a signature does not fit")
	}
	text := copied.Read(t, logic)
	copied.Write(t, logic, strings.ReplaceAll(text, "types.GetCapacityReq", "types.CapacityReq"))
	copied.Run(t, "go vet ./api/...")
	mustCheck(t, copied)
}

var protocVersion = regexp.MustCompile(`(?m)^// -?\s*protoc\s+v.*\n`)

// The lines of docs/changing.md, without make, give what make gen gives.
func TestPlainGoctl(t *testing.T) {
	copied := tree.Copy(t, root)
	apply(t, copied, "stored_field/1-contract")
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
	mustCheck(t, copied)
}
