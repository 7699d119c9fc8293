package workflow

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/config"
)

var pages = [][2]string{
	{"README.md", "README.zh-CN.md"},
	{"docs/configuration.md", "docs/zh/configuration.md"},
	{"docs/operations.md", "docs/zh/operations.md"},
	{"docs/migration.md", "docs/zh/migration.md"},
	{"docs/china.md", "docs/zh/china.md"},
}

// Both languages have equal code blocks, and the same headings and tables.
func TestTranslationsHaveTheSameCodeAndTables(t *testing.T) {
	for _, page := range pages {
		if diff := cmp.Diff(skeleton(readPage(t, page[0])), skeleton(readPage(t, page[1]))); diff != "" {
			t.Errorf("code, headings and tables (-%s +%s):\n%s", page[0], page[1], diff)
		}
	}
}

// skeleton returns the lines of the code blocks, the levels of the headings and the first word of
// code in each table row, in order.
func skeleton(text string) []string {
	var found []string
	fence := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			fence = !fence
			found = append(found, line)
		case fence || strings.HasPrefix(line, "    "):
			found = append(found, line)
		case strings.HasPrefix(line, "#"):
			level, _, _ := strings.Cut(line, " ")
			found = append(found, level)
		case strings.HasPrefix(line, "|"):
			_, rest, _ := strings.Cut(line, "`")
			word, _, _ := strings.Cut(rest, "`")
			found = append(found, "| "+word)
		}
	}
	return found
}

func TestConfigurationNamesEverySetting(t *testing.T) {
	for _, name := range pages[1] {
		text := readPage(t, name)
		for f := range reflect.TypeFor[config.Config]().Fields() {
			if env := f.Tag.Get("env"); !strings.Contains(text, "`"+env+"`") {
				t.Errorf("%s does not name %s", name, env)
			}
		}
	}
}

// link matches a Markdown link or picture, inline or defined at the start of a line.
var link = regexp.MustCompile(`(?m)\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)`)

// TestLinks checks the links to files in every document.
func TestLinks(t *testing.T) {
	names, err := exec.Command("git", "ls-files", "../../*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(names)) {
		for _, m := range link.FindAllStringSubmatch(readPage(t, name[len("../../"):]), -1) {
			u, err := url.Parse(m[1] + m[2])
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if !u.IsAbs() && u.Path != "" {
				if _, err := os.Stat(filepath.Join(filepath.Dir(name), filepath.FromSlash(u.Path))); err != nil {
					t.Errorf("%s: broken link: %v", name, err)
				}
			}
		}
	}
}

var path = regexp.MustCompile("`((?:api|rpc|model|internal|simulator|deploy|client|tools|test|docs)/[\\w./-]+)`")

func TestArchitectureNamesExistingFiles(t *testing.T) {
	for _, name := range []string{"docs/architecture.md", "CONTRIBUTING.md"} {
		paths := path.FindAllStringSubmatch(readPage(t, name), -1)
		if len(paths) < 3 {
			t.Errorf("%s names %d files, want at least 3", name, len(paths))
		}
		for _, m := range paths {
			if _, err := os.Stat(filepath.Join("../..", filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names a missing file: %v", name, err)
			}
		}
	}
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
