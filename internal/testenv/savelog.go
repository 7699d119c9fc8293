package testenv

import (
	"errors"
	"os"
	"path/filepath"
)

// SaveLog writes what a program printed to a new file, so that a test's log names it instead of
// holding it. It returns the file's name, or why there is none.
func SaveLog(program, printed string) string {
	folder := filepath.Join(os.TempDir(), "shares-test-logs")
	err := os.MkdirAll(folder, 0o755)
	if err != nil {
		return err.Error()
	}
	f, err := os.CreateTemp(folder, program+"-*.log")
	if err != nil {
		return err.Error()
	}
	_, err = f.WriteString(printed)
	if err := errors.Join(err, f.Close()); err != nil {
		return err.Error()
	}
	return f.Name()
}
