package testenv

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"shares/internal/testenv/testos"
)

// mariaBaseArgs are the arguments that the making of a data folder and the server that runs on it must share.
func mariaBaseArgs() []string {
	args := []string{
		"--no-defaults", // first, as mariadbd demands: the machine's own configuration does not count
		"--innodb-log-file-size=16M",
	}
	if os.Getuid() == 0 {
		args = append(args, "--user=root") // mariadbd refuses to run as root unless told to
	}
	return args
}

// mariaTemplate returns an initialised data folder for the server at path, to be copied and never run on. It is made once per user and
// server version, because that takes seconds; a lock file keeps test binaries that start together from making it twice.
func mariaTemplate(path string) (_ string, err error) {
	version, err := exec.Command(path, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("testenv: ask %s for its version: %w", path, err)
	}
	if !strings.Contains(string(version), "MariaDB") {
		return "", fmt.Errorf("testenv: %s is not MariaDB: %s", path, installMariaDB)
	}
	cache, err := os.UserCacheDir()
	if err != nil { // no home folder, as in some containers
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, fmt.Sprintf("shares-testenv-%d", os.Getuid()))
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", fmt.Errorf("testenv: make the cache folder: %w", err)
	}
	sum := sha256.Sum256(append(version, strings.Join(mariaBaseArgs(), " ")...))
	template := filepath.Join(cache, "mariadb-"+hex.EncodeToString(sum[:8]))

	unlock, err := testos.LockFile(template + ".lock")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Stat(template); !errors.Is(err, fs.ErrNotExist) {
		return template, err
	}

	install, err := lookPath(installMariaDB, "mariadb-install-db", "mysql_install_db")
	if err != nil {
		return "", err
	}
	unfinished := template + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", fmt.Errorf("testenv: remove an unfinished data folder: %w", err)
	}
	args := append(mariaBaseArgs(), "--datadir="+unfinished, "--tmpdir="+unfinished, "--auth-root-authentication-method=normal", "--skip-test-db")
	var out bytes.Buffer
	cmd := exec.Command(install, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("testenv: %s: %w\n%s", install, err, out.String())
	}
	if err := os.Rename(unfinished, template); err != nil {
		return "", fmt.Errorf("testenv: keep the data folder: %w", err)
	}
	return template, nil
}
