package testprocess

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"shares/internal/testenv"
)

// Binary builds the program and returns its path. It builds once per calling process, with the race
// detector if the caller has it. A later caller removes the file once this process has ended.
func Binary() (string, error) { return binary() }

var binary = sync.OnceValues(func() (string, error) {
	// The working folder's module is shares, or replaces it.
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "shares").Output()
	if err != nil {
		return "", fmt.Errorf("testprocess: find the module shares: %w", err)
	}
	dir, err := testenv.CacheDir()
	if err != nil {
		return "", err
	}
	testenv.Sweep(dir)
	path := filepath.Join(dir, testenv.Owned("shares"))
	args := []string{"build", "-tags", "no_k8s,grpcnotrace", "-ldflags", "-w", "-o", path} // no DWARF: linking takes half the time
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("testprocess: build: %w\n%s", err, out)
	}
	return path, nil
})
