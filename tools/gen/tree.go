package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// sources are the files and folders that the generators read or write, with slashes.
var sources = []string{
	"go.mod", "go.sum", "shares.api", "api", "rpc", "model", "internal", "docs", "client/src",
	"client/tsconfig.json", "tools",
}

// files are contents by path. Paths have slashes and are relative to the root.
type files map[string][]byte

func copyTree(root, to string) (files, error) {
	all, err := readTree(root)
	if err != nil {
		return nil, err
	}
	for name, data := range all {
		if err := write(to, name, data); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readTree(root string) (files, error) {
	all := files{}
	for _, source := range sources {
		err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(source)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			all[filepath.ToSlash(name)] = data
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// write replaces a file atomically.
func write(root, name string, data []byte) error {
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// changes are the files that the generators have written and deleted.
type changes struct {
	written files
	deleted []string
}

// compare returns the difference between a generated tree and before, with Go files in gofmt's
// format.
func compare(tree string, before files) (changes, error) {
	after, err := readTree(tree)
	if err != nil {
		return changes{}, err
	}
	c := changes{written: files{}}
	for name, data := range after {
		if bytes.Equal(data, before[name]) && before[name] != nil {
			continue
		}
		if strings.HasSuffix(name, ".go") {
			if data, err = format.Source(data); err != nil {
				return changes{}, fmt.Errorf("%s: %w", name, err)
			}
		}
		if old, ok := before[name]; !ok || !bytes.Equal(data, old) {
			c.written[name] = data
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			c.deleted = append(c.deleted, name)
		}
	}
	return c, nil
}

func (c changes) empty() bool { return len(c.written)+len(c.deleted) == 0 }

func (c changes) apply(root string) error {
	for name, data := range c.written {
		if err := write(root, name, data); err != nil {
			return err
		}
	}
	for _, name := range c.deleted {
		if err := os.Remove(filepath.Join(root, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// print shows what apply would change.
func (c changes) print(root, tree string) {
	for _, name := range slices.Sorted(maps.Keys(c.written)) {
		if err := write(tree, name, c.written[name]); err != nil {
			fmt.Println(err)
		}
		diff := exec.Command("diff", "-u", "-N", filepath.Join(root, name), filepath.Join(tree, name))
		diff.Stdout, diff.Stderr = os.Stdout, os.Stderr
		diff.Run() // fails if the files differ
	}
	for _, name := range c.deleted {
		fmt.Println("no longer generated:", name)
	}
}
