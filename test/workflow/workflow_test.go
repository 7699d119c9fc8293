// Package workflow replays the README's "Changing it" in a copy of the tree:
// its diffs apply, its migrations generate, and the result builds.
package workflow

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is one fenced block of the README.
type block struct{ language, text string }

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

func TestReadmeTutorial(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"goctl", "protoc-gen-go", "protoc-gen-go-grpc"} {
		if _, err := os.Stat(filepath.Join(root, ".bin", tool)); err != nil {
			t.Fatalf("%s is missing: run `make .bin/.built`", tool)
		}
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tutorial, ok := strings.Cut(string(readme), "\n## Changing it\n")
	if !ok {
		t.Fatal(`README.md has no part "Changing it"`)
	}
	tutorial, _, _ = strings.Cut(tutorial, "\n## ")

	tree := copyTree(t, root)
	run := func(input, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(root, ".bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}

	var generated []string
	for _, b := range blocks(tutorial) {
		switch b.language {
		case "diff":
			run(b.text, "git", "apply", "--whitespace=nowarn", "-")
		case "sql":
			name, _, _ := strings.Cut(strings.TrimPrefix(b.text, "-- "), "\n")
			if err := os.WriteFile(filepath.Join(tree, filepath.FromSlash(name)), []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		case "sh":
			if strings.TrimSpace(b.text) != "make gen" {
				t.Fatalf("the tutorial runs more than make gen: %q", b.text)
			}
			generated = append(generated, run("", "go", "-C", "tools", "run", "./gen"))
		}
	}

	if len(generated) != 3 {
		t.Fatalf("the tutorial generates %d times, want 3: once a step", len(generated))
	}
	if want := "api/internal/logic/weixin/get_capacity_logic.go"; !strings.Contains(generated[2], want) {
		t.Errorf("make gen did not print the file that is left to fill, %s:\n%s", want, generated[2])
	}
	for _, out := range generated[:2] {
		if strings.Contains(out, "left to fill") {
			t.Errorf("make gen names files to fill where there are none:\n%s", out)
		}
	}
	for file, want := range map[string]string{
		"api/internal/types/types.go":                     "Language  string `json:\"language\"`",
		"model/wx_userinfo_model_gen.go":                  "Level ",
		"api/internal/handler/routes.go":                  "/weixin.get_capacity",
		"docs/openapi.json":                               "/shares/api/v1/weixin.get_capacity",
		"api/internal/logic/weixin/get_capacity_logic.go": "user.GetCapacity()",
	} {
		data, err := os.ReadFile(filepath.Join(tree, filepath.FromSlash(file)))
		if err != nil {
			t.Error(err)
		} else if !bytes.Contains(data, []byte(want)) {
			t.Errorf("%s does not hold %q after the tutorial", file, want)
		}
	}
	run("", "go", "vet", ".", "./api/...", "./rpc/...", "./model")
}

func blocks(text string) []block {
	var bs []block
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		bs = append(bs, block{m[1], m[2]})
	}
	return bs
}

// copyTree copies what git tracks, and what it would, into a new folder.
func copyTree(t *testing.T, root string) string {
	t.Helper()
	tree := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), data, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}
