package observability

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const page = "docs/observability.md"

// TestPanelsAreListed compares the page's table of panels with the dashboard.
func TestPanelsAreListed(t *testing.T) {
	var want []string
	for _, p := range panels(t) {
		var queries []string
		for _, target := range p.Targets {
			query := strings.NewReplacer(`namespace="$namespace",`, "", `{namespace="$namespace"}`, "", "|", `\|`).Replace(target.Expr)
			queries = append(queries, "`"+query+"`")
		}
		want = append(want, "| "+p.Title+" | "+strings.Join(queries, "<br>")+" |")
	}
	compare(t, "Panels", want)
}

// TestLogLinesAreListed compares the page's tables of log lines and fields with the calls in the
// source. A text that is not constant is listed as "…".
func TestLogLinesAreListed(t *testing.T) {
	var lines, fields []string
	for _, dir := range []string{"api", "rpc", "internal", "model"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testenv") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					line, found := logged(call)
					if line != "" {
						lines = append(lines, line)
					}
					fields = append(fields, found...)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range fields {
		fields[i] = "| `" + name + "` |"
	}
	compare(t, "Log lines", lines)
	compare(t, "Log fields", fields)
}

var logging = regexp.MustCompile(`^(Debug|Info|Warn|Error)(Context)?$`)

// logged returns the row of a call of a logger, and the fields that a call names.
func logged(call *ast.CallExpr) (row string, fields []string) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil
	}
	on, args := "", call.Args
	switch x := f.X.(type) {
	case *ast.Ident:
		on = x.Name
	case *ast.SelectorExpr:
		on = x.Sel.Name
	}
	m := logging.FindStringSubmatch(f.Sel.Name)
	switch {
	case on == "slog" && f.Sel.Name == "NewRecord": // of the access log
		return "| INFO, ERROR | " + constant(args[2]) + " |", nil
	case on == "slog" && len(args) == 2 && constant(args[0]) != "…":
		return "", []string{constant(args[0])}
	case f.Sel.Name == "With" && on == "log":
		args = append([]ast.Expr{nil}, args...)
	case m == nil || !slices.Contains([]string{"log", "Log", "Logger", "l"}, on):
		return "", nil
	case m[2] != "":
		args = args[1:]
	}
	for i := 1; i < len(args); i += 2 {
		fields = append(fields, constant(args[i]))
	}
	if m == nil {
		return "", fields
	}
	return "| " + strings.ToUpper(m[1]) + " | " + constant(args[0]) + " |", fields
}

// constant returns the text of a string literal, or of several that are added.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return constant(e.X) + constant(e.Y)
	}
	return "…"
}

// section returns the rows of the table under a heading of the page.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, text, _ := strings.Cut(read(t, page), "\n## "+heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	_, text, _ = strings.Cut(text, "\n|---")
	_, rows, _ := strings.Cut(text, "\n")
	if rows == "" {
		t.Errorf("%s has no table under %q", page, heading)
	}
	return rows
}

// compare fails unless the rows under a heading of the page begin with those wanted.
func compare(t *testing.T, heading string, want []string) {
	t.Helper()
	table := section(t, heading)
	for _, row := range want {
		if !strings.Contains("\n"+table, "\n"+row) {
			t.Errorf("%s: add to the table under %q, with its meaning:\n%s", page, heading, row)
		}
	}
	for row := range strings.Lines(table) {
		if strings.HasPrefix(row, "| ") && !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(row, w) }) {
			t.Errorf("%s: %q no longer holds, remove it:\n%s", page, heading, row)
		}
	}
}
