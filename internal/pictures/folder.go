package pictures

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
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
	file := f.path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	temporary := file + "." + rand.Text() + ".tmp"
	defer os.Remove(temporary)
	if err := writeSynced(temporary, data); err != nil {
		return err
	}
	f.publish.Lock()
	defer f.publish.Unlock()
	if f.exists(ctx, name) == nil {
		return nil
	}
	if err := os.Rename(temporary, file); err != nil {
		return err
	}
	for dir := filepath.Dir(file); len(dir) >= len(f.root); dir = filepath.Dir(dir) {
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

func (f *folder) remove(_ context.Context, name string) error { return os.Remove(f.path(name)) }

// list ignores files that are removed meanwhile.
func (f *folder) list(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		_ = fs.WalkDir(os.DirFS(f.root), path.Clean(prefix), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return nil
			}
			o := Object{Name: name}
			if err == nil {
				var info fs.FileInfo
				if info, err = d.Info(); err == nil {
					o.Modified = info.ModTime()
				}
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if !yield(o, errors.Join(err, ctx.Err())) {
				return fs.SkipAll
			}
			return nil
		})
	}
}

func (f *folder) get(_ context.Context, name string) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, MaxBytes+1))
}
