//go:build faults

package faults

import (
	"bytes"
	"image"
	_ "image/jpeg" // QR codes are JPEG
	_ "image/png"  // or PNG
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// killedMakingCodes kills a replica three times while it creates many codes. Afterwards every code
// must be served, and every stored picture must be complete.
func killedMakingCodes(f *fault) {
	victim, other := f.edges[0], f.edges[1]
	var scenes []string
	for range 3 {
		var asking sync.WaitGroup
		for i := range 60 {
			scene := f.people.NewScene()
			scenes = append(scenes, scene)
			asking.Go(func() { // most get no answer, because the replica is killed
				victim.QRCode(f.Context(), f.people.Readers[i%readers].Session(), scene)
			})
		}
		time.Sleep(60 * time.Millisecond)
		f.check(victim.Kill())
		asking.Wait()
		time.Sleep(steady / 2)
		f.check(victim.Start())
		victim.waitReady(f.T)
	}
	fixed(f)
	for i, scene := range scenes {
		path, a := victim.QRCode(f.Context(), f.people.Readers[i%readers].Session(), scene)
		if a.Failure() != nil {
			f.Errorf("a code cannot be created after the restart: %v", a.Failure())
			continue
		}
		if a := other.Get(f.Context(), path); a.Failure() != nil || !whole(a.Body) {
			f.Errorf("a code is not served completely: status %d, %d bytes", a.Status, len(a.Body))
		}
	}
	pictures, left := 0, 0
	f.check(filepath.WalkDir(filepath.Join(f.dir, "pictures"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, ".tmp") {
			left++
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && !whole(data) {
			f.Errorf("a picture in the bucket is incomplete")
			return nil
		}
		pictures++
		return err
	}))
	f.row.Note("%d complete pictures; %d temporary files", pictures, left)
}

func whole(picture []byte) bool {
	_, _, err := image.Decode(bytes.NewReader(picture))
	return err == nil
}
