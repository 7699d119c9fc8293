package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGenerate(t *testing.T) {
	const golden = "testdata/every_form.ts"
	to := filepath.Join(t.TempDir(), "generated.ts")
	if err := run("testdata/every_form.api", to); err != nil {
		t.Fatal(err)
	}
	got := read(t, to)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != read(t, golden) {
		t.Errorf("the result differs from %s (-update rewrites it):\n%s", golden, got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
