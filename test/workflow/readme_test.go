package workflow

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/config"
)

// readmes are the same page in two languages.
var readmes = []string{"README.md", "README.zh-CN.md"}

// What is typed or copied from the one README is in the other, word for word.
func TestReadmesSayTheSame(t *testing.T) {
	english, chinese := readReadme(t, readmes[0]), readReadme(t, readmes[1])
	if diff := cmp.Diff(codeOf(english), codeOf(chinese)); diff != "" {
		t.Errorf("code blocks (-%s +%s):\n%s", readmes[0], readmes[1], diff)
	}
	if diff := cmp.Diff(outline(english), outline(chinese)); diff != "" {
		t.Errorf("headings and tables (-%s +%s):\n%s", readmes[0], readmes[1], diff)
	}
}

func TestReadmesNameEverySetting(t *testing.T) {
	for _, name := range readmes {
		text := readReadme(t, name)
		for _, s := range config.Settings() {
			if !strings.Contains(text, "`"+s.Env+"`") {
				t.Errorf("%s says nothing of %s", name, s.Env)
			}
		}
	}
}

// link is a Markdown link or picture: in place, or defined at a line's start.
var link = regexp.MustCompile(`(?m)\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)`)

func TestReadmeLinks(t *testing.T) {
	for _, name := range readmes {
		links := link.FindAllStringSubmatch(readReadme(t, name), -1)
		if len(links) == 0 {
			t.Errorf("%s has no links", name)
		}
		for _, m := range links {
			u, err := url.Parse(m[1] + m[2])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if u.IsAbs() || u.Path == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", filepath.FromSlash(u.Path))); err != nil {
				t.Errorf("%s: link to nowhere: %v", name, err)
			}
		}
	}
}

func readReadme(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
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

// outline returns the levels of the headings and, of each row of a table, the
// first word of code in it.
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
