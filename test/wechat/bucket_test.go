package wechat_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"shares/simulator"
)

const s3Secret = "wechat-suite-s3-secret-access-key"

// s3 is a server that speaks S3, over TLS and without trailing checksums, as COS and OSS do.
type s3 struct {
	backend gofakes3.Backend
	url     string
	ca      string // file with its certificate
	refused atomic.Int64
	puts    atomic.Int64
	broken  atomic.Bool
}

func newS3(t *testing.T) *s3 {
	t.Helper()
	s := &s3{backend: s3mem.New(), ca: filepath.Join(t.TempDir(), "ca.pem")}
	if err := s.backend.CreateBucket("pictures"); err != nil {
		t.Fatal(err)
	}
	next := gofakes3.New(s.backend).Server()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			s.puts.Add(1)
		}
		switch {
		case strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked"),
			strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-"),
			r.Header.Get("X-Amz-Trailer") != "":
			s.refused.Add(1)
			http.Error(w, "<Error><Code>NotImplemented</Code></Error>", http.StatusNotImplemented)
		case s.broken.Load():
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(s.ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// names returns what is in the bucket.
func (s *s3) names(t testing.TB) []string {
	t.Helper()
	list, err := s.backend.ListBucket("pictures", &gofakes3.Prefix{}, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, object := range list.Contents {
		names = append(names, object.Key)
	}
	return names
}

// TestBucketInS3 has two replicas share a bucket; one of them says that it is public behind a CDN.
func TestBucketInS3(t *testing.T) {
	t.Parallel()
	const cdn = "https://cdn.example.test/codes"
	w, s := newWorld(t), newS3(t)
	secrets.Hide("S3 secret", s3Secret)
	env := map[string]string{
		"QRCODE_BUCKET":         "s3://pictures?region=us-east-1&endpoint=" + url.QueryEscape(s.url) + "&s3ForcePathStyle=true&request_checksum_calculation=when_required",
		"AWS_ACCESS_KEY_ID":     "wechat-suite-key-id",
		"AWS_SECRET_ACCESS_KEY": s3Secret,
		"SSL_CERT_FILE":         s.ca,
	}
	behind := w.serve(t, env)
	env["QRCODE_PUBLIC_URL"] = cdn
	direct := w.serve(t, env)
	u := behind.login(t, "user")

	got := behind.post(t, getQrcode, u.session, qrcode{"pages/s3", "made"}).ok(t)
	name := strings.TrimPrefix(got.URL, public+"/shares/images/")
	if diff := cmp.Diff([]string{name}, s.names(t)); diff != "" {
		t.Fatalf("the bucket (-want +got):\n%s", diff)
	}
	for _, r := range []*replica{behind, direct} {
		if got, want := scan(t, r.picture(t, got.URL)), simulator.CodeText("pages/s3", "made"); got != want {
			t.Errorf("scanned %q, want %q", got, want)
		}
	}
	if got := direct.post(t, getQrcode, u.session, qrcode{"pages/s3", "made"}).ok(t); got.URL != cdn+"/"+name {
		t.Errorf("address %q, want it on the CDN", got.URL)
	}
	if n := w.wechat.Calls()[unlimitedCode]; n != 1 {
		t.Errorf("%d calls of getwxacodeunlimit, want 1", n)
	}

	s.broken.Store(true)
	timed(t, func() reply { return direct.post(t, getQrcode, u.session, qrcode{"pages/s3", "broken"}) }).
		refused(t, http.StatusServiceUnavailable, -1)
	// What a replica knows to be there needs no bucket.
	direct.post(t, getQrcode, u.session, qrcode{"pages/s3", "made"}).ok(t)
	s.broken.Store(false)
	if got := s.names(t); len(got) != 1 {
		t.Errorf("the bucket holds %q, want nothing new", got)
	}
	for i, r := range []*replica{behind, direct} {
		waitUntil(t, "codes are made again", func() bool {
			return r.post(t, getQrcode, u.session, qrcode{"pages/s3", fmt.Sprint("after-", i)}).status == http.StatusOK
		})
	}
	if n := s.refused.Load(); n != 0 || s.puts.Load() != 3 {
		t.Errorf("%d of %d writes were of a form that COS and OSS refuse, want 0 of 3", n, s.puts.Load())
	}
}
