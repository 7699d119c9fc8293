package testprocess

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"shares/internal/testenv"
	"shares/internal/testenv/testos"
)

// Binary builds the program and returns its path. It builds once per calling process, with the race
// detector if the caller has it. It takes a second if nothing changed since any caller's last
// build. A later caller removes the file once this process has ended.
func Binary() (string, error) { return binary() }

var binary = sync.OnceValues(build)

func build() (_ string, err error) {
	// The working folder's module is shares, or replaces it.
	list, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "shares").Output()
	if err != nil {
		return "", fmt.Errorf("testprocess: find the module shares: %w", err)
	}
	root := strings.TrimSpace(string(list))
	cache, err := testenv.CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(cache, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := testos.LockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	testenv.Sweep(dir)

	name := "shares"
	args := []string{"build", "-tags", "no_k8s,grpcnotrace", "-ldflags", "-w"} // no DWARF: linking takes half the time
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		name += "-race"
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "-o", filepath.Join(dir, name), ".")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("testprocess: build: %w\n%s", err, out)
	}
	// The process has its own link, because another caller may build again while this one starts
	// processes.
	own := filepath.Join(dir, testenv.Owned(name))
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return own, os.Link(filepath.Join(dir, name), own)
}
