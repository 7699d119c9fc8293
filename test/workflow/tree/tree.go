// Package tree changes a copy of the repository and runs its generators and tests there.
package tree

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Tree is the path of a copy.
type Tree struct {
	path, root string
}

// Copy copies root without the files that git ignores into a new folder.
func Copy(t *testing.T, root string) Tree {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"goctl", "protoc-gen-go", "protoc-gen-go-grpc", "staticcheck"} {
		if !fileExists(filepath.Join(root, ".bin", tool)) {
			t.Fatalf("%s is missing: run `make .bin/.built`", tool)
		}
	}
	tree, index := Tree{path: t.TempDir(), root: root}, filepath.Join(t.TempDir(), "index")
	for _, args := range [][]string{{"add", "--all"}, {"checkout-index", "--all", "--prefix=" + tree.path + "/"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GIT_INDEX_FILE="+index) // the user's index stays as it is
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return tree
}

// Write writes a file. Its name has slashes.
func (tree Tree) Write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(tree.path, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Read returns the content of a file.
func (tree Tree) Read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(tree.path, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Try runs a command line, split at spaces, and returns its output.
func (tree Tree) Try(line, input string) (string, error) {
	words := strings.Fields(line)
	tools := filepath.Join(tree.root, ".bin")
	name := words[0]
	if own := filepath.Join(tools, name); fileExists(own) {
		name = own
	}
	cmd := exec.Command(name, words[1:]...)
	cmd.Dir = tree.path
	cmd.Env = append(os.Environ(), "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"),
		"CGO_ENABLED=0") // as in `make build`, so that its cached packages are used even under the race detector
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// Run is Try for a command that must succeed.
func (tree Tree) Run(t *testing.T, line string) string {
	t.Helper()
	out, err := tree.Try(line, "")
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// Gen is `make gen` without the installation of its tools.
func (tree Tree) Gen(t *testing.T) string {
	t.Helper()
	return tree.Run(t, "go -C tools run ./gen")
}

// Apply applies a diff.
func (tree Tree) Apply(t *testing.T, diff string) {
	t.Helper()
	if out, err := tree.Try("git apply --whitespace=nowarn -", diff); err != nil {
		t.Fatalf("git apply: %v\n%s%s", err, out, diff)
	}
}

// Block is one fenced block of a Markdown page.
type Block struct{ Language, Text string }

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// Blocks returns the fenced blocks of a page.
func Blocks(page string) []Block {
	var blocks []Block
	for _, m := range fenced.FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, Block{m[1], m[2]})
	}
	return blocks
}
