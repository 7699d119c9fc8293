package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// report lists the remaining manual work.
type report struct {
	unfilled []string // unchanged stubs of goctl
	misfits  []string // file:line: the expected signature
	unused   []string // files that no route, rpc or table uses
}

func (r report) print() {
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"left to fill", r.unfilled},
		{"signatures that no longer fit", r.misfits},
		{"not used by a route, an rpc or a table any more", r.unused},
	} {
		if len(part.lines) > 0 {
			slices.Sort(part.lines)
			fmt.Printf("gen: %s:\n  %s\n", part.title, strings.Join(part.lines, "\n  "))
		}
	}
}

// settle restores the filled files of before in a generated tree, and reports where they do not fit
// goctl's stubs.
func settle(tree string, before files) (report, error) {
	var r report
	generated, err := readTree(tree)
	if err != nil {
		return r, err
	}
	for name, wanted := range generated {
		old, kept := before[name]
		if !stub.MatchString(name) {
			continue
		}
		if !kept || isTodo(old) {
			r.unfilled = append(r.unfilled, name)
		}
		if !kept {
			continue
		}
		if err := write(tree, name, old); err != nil {
			return r, err
		}
		misfit, err := compareMethod(tree, name, wanted)
		if err != nil {
			return r, err
		}
		if misfit != "" {
			r.misfits = append(r.misfits, misfit)
		}
	}
	for name, old := range before {
		gen, isModel := strings.CutSuffix(name, "_model.go")
		_, made := generated[gen+"_model_gen.go"]
		orphan := isModel && path.Dir(name) == "model" && !made
		if _, ok := generated[name]; stub.MatchString(name) && !ok {
			orphan = true
			if err := write(tree, name, old); err != nil {
				return r, err
			}
		}
		if orphan {
			r.unused = append(r.unused, name)
		}
	}
	return r, nil
}

func isTodo(source []byte) bool {
	return bytes.Contains(source, []byte("todo: add your logic here")) ||
		bytes.Contains(source, []byte("TODO generate middleware implement function"))
}

// compareMethod returns "file:line: signature" if the package of the file name lacks the method of
// goctl's stub or has it with another signature. The names of parameters do not count. It skips
// middlewares, which all have the same signature.
func compareMethod(tree, name string, wanted []byte) (string, error) {
	if !strings.HasSuffix(name, "_logic.go") {
		return "", nil
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, wanted, 0)
	if err != nil {
		return "", err
	}
	want := methods(file)
	if len(want) != 1 {
		return "", fmt.Errorf("%s: goctl writes %d methods, want 1", name, len(want))
	}
	folder := filepath.Join(tree, filepath.FromSlash(path.Dir(name)))
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, filepath.Join(folder, e.Name()), nil, 0)
		if err != nil {
			return "", err
		}
		for _, m := range methods(file) {
			if m.Name.Name != want[0].Name.Name || receiver(m) != receiver(want[0]) {
				continue
			}
			if signature(m) == signature(want[0]) {
				return "", nil
			}
			at := fset.Position(m.Pos()).Line
			return fmt.Sprintf("%s:%d: want %s", path.Join(path.Dir(name), e.Name()), at, header(want[0])), nil
		}
	}
	return fmt.Sprintf("%s:1: want %s", name, header(want[0])), nil
}

func methods(file *ast.File) (found []*ast.FuncDecl) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
			found = append(found, f)
		}
	}
	return found
}

func receiver(f *ast.FuncDecl) string { return types.ExprString(f.Recv.List[0].Type) }

func signature(f *ast.FuncDecl) string {
	text := ""
	for _, list := range []*ast.FieldList{f.Type.Params, f.Type.Results} {
		text += "("
		if list != nil {
			for _, field := range list.List {
				text += strings.Repeat(types.ExprString(field.Type)+",", max(1, len(field.Names)))
			}
		}
		text += ")"
	}
	return text
}

func header(f *ast.FuncDecl) string {
	return "func (l " + receiver(f) + ") " + f.Name.Name + strings.TrimPrefix(types.ExprString(f.Type), "func")
}
