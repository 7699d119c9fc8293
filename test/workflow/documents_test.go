package workflow

import (
	"net/url"
	"os"
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
		english, chinese := readPage(t, page[0]), readPage(t, page[1])
		if diff := cmp.Diff(codeOf(english), codeOf(chinese)); diff != "" {
			t.Errorf("code blocks (-%s +%s):\n%s", page[0], page[1], diff)
		}
		if diff := cmp.Diff(outline(english), outline(chinese)); diff != "" {
			t.Errorf("headings and tables (-%s +%s):\n%s", page[0], page[1], diff)
		}
	}
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
	names, err := filepath.Glob("../../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../client/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, more...)
	}
	if len(names) < 10 {
		t.Fatalf("found %d documents, want at least 10", len(names))
	}
	for _, name := range names {
		for _, m := range link.FindAllStringSubmatch(readPage(t, name[len("../../"):]), -1) {
			u, err := url.Parse(m[1] + m[2])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if u.IsAbs() || u.Path == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), filepath.FromSlash(u.Path))); err != nil {
				t.Errorf("%s: broken link: %v", name, err)
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

// codeOf returns the fenced and the indented blocks, in order.
func codeOf(text string) []string {
	var found []string
	var block strings.Builder
	end := func() {
		if block.Len() > 0 {
			found = append(found, block.String())
			block.Reset()
		}
	}
	fence := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			if !fence {
				end()
			}
			block.WriteString(line)
			if fence {
				end()
			}
			fence = !fence
		case fence || strings.HasPrefix(line, "    "):
			block.WriteString(line)
		default:
			end()
		}
	}
	end()
	return found
}

// outline returns the levels of the headings and the first word of code in each table row.
func outline(text string) []string {
	for _, block := range codeOf(text) {
		text = strings.Replace(text, block, "", 1)
	}
	var found []string
	for line := range strings.Lines(text) {
		switch {
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
