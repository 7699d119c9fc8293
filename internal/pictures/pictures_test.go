package pictures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// picture returns a pseudorandom JPEG or PNG, by the extension.
func picture(t testing.TB, ext string, seed, side int) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, side, side))
	x := uint32(seed)*2654435761 + 1
	for i := range img.Pix {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		img.Pix[i] = color.Gray{Y: uint8(x)}.Y
	}
	var buf bytes.Buffer
	var err error
	if ext == ".png" {
		err = png.Encode(&buf, img)
	} else {
		err = jpeg.Encode(&buf, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func open(t testing.TB, bucketURL string) *Store {
	t.Helper()
	s, err := Open(bucketURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newFolder(t testing.TB) string {
	return filepath.Join(t.TempDir(), "made on demand", "pictures")
}

func TestStore(t *testing.T) {
	buckets := map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { return newFolder(t) },
		"s3":   func(t *testing.T) string { _, u := startS3(t); return u },
	}
	for name, bucketURL := range buckets {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			u := bucketURL(t)
			s := open(t, u)
			files := map[string]string{"qrcode/a1.jpg": "image/jpeg", "avatar/b-2.png": "image/png", "c.png": "image/png"}
			for name, contentType := range files {
				if ok, err := s.Exists(ctx, name); ok || err != nil {
					t.Fatalf("Exists(%s) before Put: %v, %v", name, ok, err)
				}
				if _, err := s.Get(ctx, name); !errors.Is(err, ErrNotFound) {
					t.Fatalf("Get(%s) before Put: %v", name, err)
				}
				data := picture(t, filepath.Ext(name), 1, 100)
				if err := s.Put(ctx, name, data); err != nil {
					t.Fatal(err)
				}
				if ok, err := s.Exists(ctx, name); !ok || err != nil {
					t.Fatalf("Exists(%s): %v, %v", name, ok, err)
				}
				got, err := s.Get(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				want := Picture{Data: data, ContentType: contentType, ETag: got.ETag}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if len(got.ETag) != 34 || got.ETag[0] != '"' || got.ETag[33] != '"' {
					t.Errorf("ETag %s", got.ETag)
				}

				// Put does not overwrite the picture in the bucket.
				other := picture(t, filepath.Ext(name), 2, 100)
				if err := s.Put(ctx, name, other); err != nil {
					t.Fatal(err)
				}
				again, err := open(t, u).Get(ctx, name)
				if err != nil || again.ETag != got.ETag || !bytes.Equal(again.Data, data) {
					t.Errorf("the picture was overwritten (%v)", err)
				}
			}
		})
	}
}

func TestListAndRemove(t *testing.T) {
	_, s3 := startS3(t)
	for name, where := range map[string]string{"file": newFolder(t), "s3": s3} {
		t.Run(name, func(t *testing.T) {
			ctx, s := t.Context(), open(t, where)
			list := func(prefix string) (names []string) {
				for o, err := range s.List(ctx, prefix) {
					if err != nil {
						t.Fatal(err)
					}
					if age := time.Since(o.Modified); age < -time.Minute || age > time.Minute {
						t.Errorf("%s: %s old", o.Name, age)
					}
					names = append(names, o.Name)
				}
				return names
			}
			if got := list("avatar/"); got != nil {
				t.Errorf("an empty bucket lists %q", got)
			}
			for _, name := range []string{"avatar/a/1.png", "avatar/a/2.png", "avatar/ab/1.png", "c.png"} {
				if err := s.Put(ctx, name, picture(t, ".png", 1, 8)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]string{"avatar/a/1.png", "avatar/a/2.png"}, list("avatar/a/")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := s.Get(ctx, "avatar/a/1.png"); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a missing picture is removed, too
				if err := s.Remove(ctx, "avatar/a/1.png"); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Get(ctx, "avatar/a/1.png"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Get of a removed picture: %v", err)
			}
			if diff := cmp.Diff([]string{"avatar/a/2.png", "avatar/ab/1.png"}, list("avatar/")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Another process serves its copy of a removed picture for at most a minute.
func TestRecentPicturesExpire(t *testing.T) {
	if recentLife > time.Minute {
		t.Errorf("copies live %s, want at most a minute", recentLife)
	}
	where := newFolder(t)
	one, other := open(t, where), open(t, where)
	if err := one.Put(t.Context(), "a.png", picture(t, ".png", 1, 8)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Get(t.Context(), "a.png"); err != nil {
		t.Fatal(err)
	}
	if err := one.Remove(t.Context(), "a.png"); err != nil {
		t.Fatal(err)
	}
	entry, ok := other.recent.GetEntry("a.png")
	if !ok || entry.ExpiresAfter() > time.Minute {
		t.Errorf("a copy: %v, expires after %s", ok, entry.ExpiresAfter())
	}
}

func TestNames(t *testing.T) {
	s := open(t, newFolder(t))
	data := picture(t, ".png", 1, 8)
	for _, name := range []string{
		"a.png", "qrcode/0f.jpg", "a/b/c-d.png", strings.Repeat("a", maxNameLength-4) + ".png",
	} {
		putErr := s.Put(t.Context(), name, data)
		_, getErr := s.Get(t.Context(), name)
		found, err := s.Exists(t.Context(), name)
		if err := errors.Join(putErr, getErr, err); err != nil || !found {
			t.Errorf("%q: found %v, %v", name, found, err)
		}
	}
	for _, name := range []string{
		strings.Repeat("a", maxNameLength-3) + ".png", "", ".png", "a", "a.gif", "a.png.17f.tmp",
		"a.b.png", "/a.png", "a/", "a//b.png", "../a.png", "qrcode/../a.png", "./a.png", "a/.png",
		`a\b.png`, "A.png", "a.PNG", "a b.png", "a.png\n", "a\x00.png", "ä.png", "%2e%2e/a.png",
	} {
		putErr := s.Put(t.Context(), name, data)
		_, getErr := s.Get(t.Context(), name)
		found, err := s.Exists(t.Context(), name)
		if putErr == nil || !errors.Is(getErr, ErrNotFound) || found || err != nil {
			t.Errorf("%q: Put %v, Get %v, Exists %v, %v", name, putErr, getErr, found, err)
		}
	}
}

// Other files are neither stored nor served, even if another program has put them into the bucket.
func TestPicturesOnly(t *testing.T) {
	dir := newFolder(t)
	s := open(t, dir)
	for name, data := range map[string][]byte{
		"html":      []byte("<!DOCTYPE html><script>alert(1)</script>"),
		"empty":     {}, // a power cut can leave it; the picture must be made again
		"gif":       []byte("GIF89a..."),
		"too-large": append(picture(t, ".jpg", 1, 8), make([]byte, MaxBytes)...),
	} {
		if err := s.Put(t.Context(), name+".jpg", data); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("Put(%s): %v", name, err)
		}
		if ok, err := s.Exists(t.Context(), name+".jpg"); ok || err != nil {
			t.Errorf("Exists(%s): %v, %v", name, ok, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".jpg"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), name+".jpg"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%s): %v", name, err)
		}
	}
	if ok, err := s.Exists(t.Context(), "empty.jpg"); ok || err != nil {
		t.Errorf("Exists(empty.jpg): %v, %v", ok, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for bucketURL, want := range map[string]string{
		"ftp://host/dir":              "scheme",
		"mem://":                      "scheme",
		"://":                         "not a URL",
		"s3://b?region=%":             "parameters",
		"file://":                     "no folder",
		"file:///":                    "no folder",
		"file://data/pictures":        "three slashes",
		"file://" + file:              "not a directory",
		"file:///tmp/x?unknown=1":     `unknown=1`,
		"s3://":                       "no bucket",
		"s3://b?region=x&sse=1":       `sse=1`,
		"s3://b?endpoint=minio:9000":  "endpoint",
		"s3://b?s3ForcePathStyle=yes": `s3ForcePathStyle=yes is unknown or can only be "true"`,
		"s3://b?request_checksum_calculation=when_supported": `can only be "when_required"`,
	} {
		t.Run(bucketURL, func(t *testing.T) {
			if _, err := Open(bucketURL, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		})
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := Open("s3://b?region=x", nil); err == nil || !strings.Contains(err.Error(), "AWS_SECRET") {
		t.Errorf("without credentials: %v", err)
	}
}

// The bucket URLs of the documentation open unchanged.
func TestOpenAcceptsTheDocumentedURLs(t *testing.T) {
	for _, file := range []string{"docs/configuration.md", "docs/zh/configuration.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		urls := regexp.MustCompile(`(?m)^ +(s3://\S+)$`).FindAllSubmatch(text, -1)
		if len(urls) != 4 {
			t.Errorf("%s has %d URLs of S3 buckets, want 4", file, len(urls))
		}
		for _, u := range urls {
			if _, err := Open(string(u[1]), nil); err != nil {
				t.Errorf("%s: %v", u[1], err)
			}
		}
	}
}

// A hundred readers of one picture share one read and one copy, even if one of them is canceled.
func TestConcurrentGetsShareOneCopy(t *testing.T) {
	data := picture(t, ".png", 1, 100)
	slow := &slowBucket{data: data, waiting: make(chan struct{})}
	s := open(t, newFolder(t))
	s.bucket = slow
	first, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	got := make([]Picture, 100)
	for i := range got {
		ctx := t.Context()
		if i == 0 {
			ctx = first
		}
		wg.Go(func() {
			var err error
			if got[i], err = s.Get(ctx, "avatar/a.png"); err != nil && ctx != first {
				t.Error(err)
			}
		})
	}
	leave()
	close(slow.waiting)
	wg.Wait()
	for _, p := range got[1:] {
		if len(p.Data) != len(data) || &p.Data[0] != &got[1].Data[0] {
			t.Fatal("got two copies of one picture, want one")
		}
	}
	if n := slow.gets.Load(); n != 1 {
		t.Errorf("%d reads of the bucket, want 1", n)
	}
}

type slowBucket struct {
	bucket
	data    []byte
	waiting chan struct{}
	gets    atomic.Int64
}

func (b *slowBucket) get(context.Context, string) ([]byte, error) {
	b.gets.Add(1)
	<-b.waiting
	return b.data, nil
}

func TestRecentPicturesAreKept(t *testing.T) {
	dir := newFolder(t)
	s := open(t, dir)
	if err := s.Put(t.Context(), "a.png", picture(t, ".png", 1, 100)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Get(t.Context(), "a.png"); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, "a.png")) // the second Get must find it in memory
	}
}

// A reader sees a complete picture or none. Of two writers, the first one wins.
func TestPutIsAtomicForReaders(t *testing.T) {
	s := open(t, newFolder(t))
	versions := [][]byte{picture(t, ".png", 1, 400), picture(t, ".png", 2, 700)}
	for i := range 50 {
		name := fmt.Sprintf("avatar/%d.png", i)
		var wg sync.WaitGroup
		for _, data := range versions {
			wg.Go(func() {
				if err := s.Put(t.Context(), name, data); err != nil {
					t.Error(err)
				}
			})
		}
		var first []byte
		for range 3 {
			p, err := s.read(t.Context(), name)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil || !bytes.Equal(p.Data, versions[0]) && !bytes.Equal(p.Data, versions[1]) {
				t.Fatalf("read %d bytes of neither version, %v", len(p.Data), err)
			}
			if first != nil && !bytes.Equal(p.Data, first) {
				t.Fatal("the picture was overwritten")
			}
			first = p.Data
		}
		wg.Wait()
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := Open(newFolder(t), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := s.Get(ctx, "a.png"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "a.png", picture(t, ".png", 1, 8)); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Put(canceled, "b.png", picture(t, ".png", 1, 8)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	want := `
# HELP shares_pictures_calls_total Calls to the bucket, by call (exists, get, put, remove) and result (ok, not_found, canceled, error).
# TYPE shares_pictures_calls_total counter
shares_pictures_calls_total{call="get",result="not_found"} 1
shares_pictures_calls_total{call="put",result="canceled"} 1
shares_pictures_calls_total{call="put",result="ok"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_pictures_calls_total"); err != nil {
		t.Error(err)
	}
}
