package images

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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// picture returns a JPEG or PNG of random-looking content, by the extension.
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

func open(t testing.TB, bucketURL string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), bucketURL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func folder(t testing.TB) (dir, bucketURL string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "made on demand", "pictures")
	bucketURL, err := FileURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, bucketURL
}

func TestStore(t *testing.T) {
	buckets := map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { _, u := folder(t); return u },
		"mem":  func(*testing.T) string { return "mem://" },
		"s3":   func(t *testing.T) string { return startS3(t).url("") },
	}
	for name, bucketURL := range buckets {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := open(t, bucketURL(t), Options{})
			if err := s.Ping(ctx); err != nil {
				t.Fatal(err)
			}
			files := map[string]string{"qrcode/a1.jpg": "image/jpeg", "avatar/b-2.png": "image/png", "c.png": "image/png"}
			for name, contentType := range files {
				if ok, err := s.Exists(ctx, name); ok || err != nil {
					t.Fatalf("Exists(%s) before Put: %v, %v", name, ok, err)
				}
				if _, err := s.Get(ctx, name); !errors.Is(err, ErrNotFound) {
					t.Fatalf("Get(%s) before Put: %v", name, err)
				}
				data := picture(t, filepath.Ext(name), 1, 100)
				if err := s.Put(ctx, name, contentType, data); err != nil {
					t.Fatal(err)
				}
				if ok, err := s.Exists(ctx, name); !ok || err != nil {
					t.Fatalf("Exists(%s): %v, %v", name, ok, err)
				}
				got, err := s.Get(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				want := Image{Data: data, ContentType: contentType, ETag: got.ETag}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if len(got.ETag) != 34 || got.ETag[0] != '"' || got.ETag[33] != '"' {
					t.Errorf("ETag %s", got.ETag)
				}

				// Made again after its deletion, a code can have other bytes.
				if err := s.Put(ctx, name, contentType, picture(t, filepath.Ext(name), 2, 100)); err != nil {
					t.Fatal(err)
				}
				again, err := s.Get(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				if again.ETag == got.ETag || bytes.Equal(again.Data, got.Data) {
					t.Error("the replaced picture is still the old one")
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	s := open(t, "mem://", Options{})
	data := picture(t, ".png", 1, 8)
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{"a.png", true},
		{"qrcode/0f.jpg", true},
		{"a/b/c-d.png", true},
		{strings.Repeat("a", maxNameLength-4) + ".png", true},
		{strings.Repeat("a", maxNameLength-3) + ".png", false},
		{"", false},
		{".png", false},
		{"a", false},
		{"a.gif", false},
		{"a.png.17f.tmp", false},
		{"a.b.png", false},
		{"/a.png", false},
		{"a/", false},
		{"a//b.png", false},
		{"../a.png", false},
		{"qrcode/../a.png", false},
		{"./a.png", false},
		{"a/.png", false},
		{`a\b.png`, false},
		{"A.png", false},
		{"a.PNG", false},
		{"a b.png", false},
		{"a.png\n", false},
		{"a\x00.png", false},
		{"ä.png", false},
		{"%2e%2e/a.png", false},
	} {
		t.Run(fmt.Sprintf("%q", tc.name), func(t *testing.T) {
			putErr := s.Put(t.Context(), tc.name, "image/png", data)
			_, getErr := s.Get(t.Context(), tc.name)
			ok, existsErr := s.Exists(t.Context(), tc.name)
			if tc.ok {
				if putErr != nil || getErr != nil || existsErr != nil || !ok {
					t.Errorf("Put %v, Get %v, Exists %v %v", putErr, getErr, ok, existsErr)
				}
				return
			}
			if !errors.Is(putErr, ErrName) || !errors.Is(getErr, ErrNotFound) || !errors.Is(existsErr, ErrName) || ok {
				t.Errorf("Put %v, Get %v, Exists %v %v", putErr, getErr, ok, existsErr)
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	s := open(t, "mem://", Options{})
	good := picture(t, ".jpg", 1, 8)
	for name, tc := range map[string]struct {
		contentType string
		data        []byte
	}{
		"empty":        {"image/jpeg", nil},
		"too large":    {"image/jpeg", make([]byte, MaxBytes+1)},
		"content type": {"text/html", good},
		"no type":      {"", good},
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.Put(t.Context(), "a.jpg", tc.contentType, tc.data); !errors.Is(err, ErrContent) {
				t.Fatalf("got %v", err)
			}
			if ok, err := s.Exists(t.Context(), "a.jpg"); ok || err != nil {
				t.Fatalf("Exists: %v, %v", ok, err)
			}
		})
	}
}

// What someone else put into the bucket must not be served from our origin.
func TestGetServesPicturesOnly(t *testing.T) {
	dir, bucketURL := folder(t)
	s := open(t, bucketURL, Options{})
	for name, data := range map[string][]byte{
		"html":      []byte("<!DOCTYPE html><script>alert(1)</script>"),
		"empty":     {},
		"gif":       []byte("GIF89a..."),
		"too-large": append(picture(t, ".jpg", 1, 8), make([]byte, MaxBytes)...),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, name+".jpg"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), name+".jpg"); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
	// An empty file is what a power cut can leave; it has to be made again.
	if ok, err := s.Exists(t.Context(), "empty.jpg"); ok || err != nil {
		t.Errorf("Exists(empty.jpg): %v, %v", ok, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bucketURL := range []string{
		"", "/var/lib/shares", "ftp://host/dir", "file://", "file:///", "file://data/pictures",
		"file://" + file, "file:///tmp/x?unknown=1",
		"s3://", "s3://b?region=x&unknown=1", "s3://b?region=x&request_checksum_calculation=never", "://",
	} {
		t.Run(bucketURL, func(t *testing.T) {
			if s, err := Open(t.Context(), bucketURL, Options{}); err == nil {
				t.Errorf("opened: %v", s.Close())
			}
		})
	}
}

func TestRecentImages(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	dir, bucketURL := folder(t)
	s := open(t, bucketURL, Options{RecentImages: 2, Now: func() time.Time { return now }})
	put := func(name string, side int) {
		t.Helper()
		if err := s.Put(t.Context(), name, "image/png", picture(t, ".png", 1, side)); err != nil {
			t.Fatal(err)
		}
	}
	// get reads the picture, deletes it behind the store's back, and reports
	// whether it can still be read.
	keeps := func(name string) bool {
		t.Helper()
		if _, err := s.Get(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := s.Get(t.Context(), name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	put("small.png", 100)
	put("large.png", 600)
	if !keeps("small.png") {
		t.Error("a small picture was not kept")
	}
	if keeps("large.png") {
		t.Error("a picture beyond the bound was kept")
	}
	now = now.Add(recentLife)
	if _, err := s.Get(t.Context(), "small.png"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	for i := range 3 {
		put(fmt.Sprintf("n%d.png", i), 8)
		if !keeps(fmt.Sprintf("n%d.png", i)) {
			t.Errorf("picture %d was not kept", i)
		}
	}
	if _, err := s.Get(t.Context(), "n0.png"); !errors.Is(err, ErrNotFound) {
		t.Errorf("more pictures are kept than allowed: %v", err)
	}
}

// A reader sees all or nothing while a writer replaces the picture.
func TestPutIsAtomicForReaders(t *testing.T) {
	_, bucketURL := folder(t)
	writer, reader := open(t, bucketURL, Options{}), open(t, bucketURL, Options{})
	versions := [][]byte{picture(t, ".png", 1, 400), picture(t, ".png", 2, 700)}
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 200 && err == nil; i++ {
			err = writer.Put(context.Background(), "a.png", "image/png", versions[i%2])
		}
		written <- err
	}()
	for {
		img, err := reader.Get(t.Context(), "a.png")
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			t.Fatal(err)
		case !bytes.Equal(img.Data, versions[0]) && !bytes.Equal(img.Data, versions[1]):
			t.Fatalf("read %d bytes of neither version", len(img.Data))
		}
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

const writerFolder = "SHARES_TEST_WRITER_BUCKET"

// writeUntilKilled is the other process of TestPutIsAtomicForKilledWriters.
func writeUntilKilled(bucketURL string) error {
	ctx := context.Background()
	s, err := Open(ctx, bucketURL, Options{})
	if err != nil {
		return err
	}
	data := append([]byte("\xff\xd8\xff\xe0"), bytes.Repeat([]byte{7}, 2<<20)...)
	for i := 0; ; i++ {
		if err := s.Put(ctx, fmt.Sprintf("qrcode/%d.jpg", i%50), "image/jpeg", data); err != nil {
			return err
		}
	}
}

func TestPutIsAtomicForKilledWriters(t *testing.T) {
	dir, bucketURL := folder(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), writerFolder+"="+bucketURL)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := filepath.Join(dir, "qrcode", fmt.Sprintf("%d.jpg", 5*(round+1)))
		deadline := time.Now().Add(20 * time.Second)
		for {
			if _, err := os.Stat(first); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("the writer wrote nothing: %s", stderr.String())
				break
			}
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Kill() //nolint:errcheck // Wait tells
		cmd.Wait()         //nolint:errcheck // killed, as intended
	}

	entries, err := os.ReadDir(filepath.Join(dir, "qrcode"))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, bucketURL, Options{})
	for _, e := range entries {
		name := "qrcode/" + e.Name()
		img, err := s.Get(t.Context(), name)
		switch {
		case strings.HasSuffix(name, ".tmp"):
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("Get(%s): %v", name, err)
			}
		case err != nil:
			t.Errorf("Get(%s): %v", name, err)
		case len(img.Data) != 4+2<<20:
			t.Errorf("%s has %d bytes", name, len(img.Data))
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := open(t, "mem://", Options{Metrics: reg})
	ctx := t.Context()
	if _, err := s.Get(ctx, "a.png"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "a.png", "image/png", picture(t, ".png", 1, 8)); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Get(canceled, "a.png"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	want := `
# HELP shares_images_calls_total Calls to the picture bucket, by call (ping, exists, get, put) and result (ok, not_found, canceled, error).
# TYPE shares_images_calls_total counter
shares_images_calls_total{call="get",result="canceled"} 1
shares_images_calls_total{call="get",result="not_found"} 1
shares_images_calls_total{call="put",result="ok"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shares_images_calls_total"); err != nil {
		t.Error(err)
	}
}

func TestFileURL(t *testing.T) {
	t.Chdir("/")
	for dir, want := range map[string]string{
		"data/pictures":    "file:///data/pictures",
		"/var/lib/a b?c#d": "file:///var/lib/a%20b%3Fc%23d",
	} {
		got, err := FileURL(dir)
		if err != nil || got != want {
			t.Errorf("FileURL(%s) = %s, %v; want %s", dir, got, err, want)
		}
	}
}
