package testprocess

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"shares/internal/testenv/testos"
)

// Binary builds the program from the module that the working folder belongs to and returns its path. It is built once per calling
// process, with the race detector where the caller itself has it, and is up to date in a second when nothing changed since the last
// build of any caller. The file stays until a later caller finds this process gone.
func Binary() (string, error) { return binary() }

var binary = sync.OnceValues(build)

func build() (_ string, err error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil { // no home folder, as in some containers
		cache = os.TempDir()
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(cache, "shares-testprocess", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("testprocess: make the cache folder: %w", err)
	}
	unlock, err := testos.LockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	sweep(dir)

	name := "shares"
	args := []string{"build", "-tags", "no_k8s,grpcnotrace", "-ldflags", "-w"} // no DWARF: linking takes half the time
	if raceEnabled {
		name += "-race"
		args = append(args, "-race")
	}
	built := filepath.Join(dir, name)
	cmd := exec.Command("go", append(args, "-o", built, ".")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("testprocess: build: %w\n%s", err, out)
	}
	// A link of our own: another caller may build again while processes of this one come and go.
	own := built + ownSuffix + strconv.Itoa(os.Getpid())
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("testprocess: %w", err)
	}
	if err := os.Link(built, own); err != nil {
		return "", fmt.Errorf("testprocess: %w", err)
	}
	return own, nil
}

const ownSuffix = ".of-"

// sweep removes the links of processes that are gone.
func sweep(dir string) {
	links, err := filepath.Glob(filepath.Join(dir, "*"+ownSuffix+"*"))
	if err != nil {
		return
	}
	for _, link := range links {
		_, owner, _ := strings.Cut(filepath.Base(link), ownSuffix)
		pid, err := strconv.Atoi(owner)
		if err != nil || pid <= 0 {
			continue
		}
		if !testos.Alive(pid) {
			os.Remove(link) // best effort: the next caller tries again
		}
	}
}

func moduleRoot() (string, error) {
	// The working folder's module is shares, or replaces it.
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "shares").Output()
	if err != nil {
		return "", fmt.Errorf("testprocess: find the module shares: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
