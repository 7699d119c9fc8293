package pictures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk runs this program with a tmpfs of 64 KiB and with a limit of file sizes.
func TestFullDisk(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []string{"tmpfs", "RLIMIT_FSIZE"} {
		t.Run(limit, func(t *testing.T) {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), fullDisk+"="+limit, "TMPDIR="+t.TempDir())
			if limit == "tmpfs" {
				cmd.SysProcAttr = &syscall.SysProcAttr{
					Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
					UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
					GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
				}
			}
			out, err := cmd.CombinedOutput()
			if errors.Is(err, syscall.EPERM) {
				t.Skipf("this system allows only root to mount a file system: %v", err)
			}
			if err != nil || string(out) != "<nil>\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// writeToFullDisk stores pictures that do not fit and returns what went wrong, or nil.
func writeToFullDisk(limit string) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	if limit == "tmpfs" {
		err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k")
	} else {
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 12 << 10, Max: 12 << 10})
	}
	if err != nil {
		return err
	}
	s, err := Open("file://"+dir, nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	small := append([]byte("\xff\xd8\xff"), make([]byte, 8<<10)...)
	large := append([]byte("\xff\xd8\xff"), make([]byte, 100<<10)...)
	if err := s.Put(ctx, "avatar/small.jpg", small); err != nil {
		return err
	}
	for _, name := range []string{"avatar/large.jpg", "qrcode/new/large.jpg"} {
		if err := s.Put(ctx, name, large); !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("put %s: %v", name, err)
		}
		if found, err := s.Exists(ctx, name); found || err != nil {
			return fmt.Errorf("exists %s: %v, %v", name, found, err)
		}
	}
	if p, err := s.Get(ctx, "avatar/small.jpg"); err != nil || !bytes.Equal(p.Data, small) {
		return fmt.Errorf("the small picture has %d bytes, %v", len(p.Data), err)
	}
	var left []string
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) != 1 {
		return fmt.Errorf("the folder has %s, %v", strings.Join(left, " "), err)
	}
	return nil
}
