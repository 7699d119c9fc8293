package pictures

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// folder is a bucket for one replica.
type folder struct {
	root    string
	publish sync.Mutex // held from the check for an existing picture to the rename
}

func openFolder(root string) (*folder, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	return &folder{root: root}, os.MkdirAll(root, 0o777)
}

func (f *folder) path(name string) string { return filepath.Join(f.root, filepath.FromSlash(name)) }

// exists treats an empty file as missing, because a power cut can leave it.
func (f *folder) exists(_ context.Context, name string) error {
	info, err := os.Stat(f.path(name))
	if err == nil && info.Size() == 0 {
		return fs.ErrNotExist
	}
	return err
}

// put writes a temporary file, syncs it and renames it. A process that is killed in between leaves
// a *.tmp file, which has no valid name and may be deleted.
func (f *folder) put(ctx context.Context, name, _ string, data []byte) error {
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	temporary := path + "." + rand.Text() + ".tmp"
	defer os.Remove(temporary)
	if err := writeSynced(temporary, data); err != nil {
		return err
	}
	f.publish.Lock()
	defer f.publish.Unlock()
	if f.exists(ctx, name) == nil {
		return nil
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	for dir := filepath.Dir(path); len(dir) >= len(f.root); dir = filepath.Dir(dir) {
		if d, err := os.Open(dir); err == nil {
			_ = d.Sync() // some systems cannot sync a folder
			_ = d.Close()
		}
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (f *folder) get(_ context.Context, name string) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, MaxBytes+1))
}
