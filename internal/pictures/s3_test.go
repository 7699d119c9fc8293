package pictures

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"shares/internal/testenv"
)

// proxied is an S3 that acts as every host behind a forward proxy. The process reads the proxies
// from the environment once, so TestMain sets them. Loopback addresses are never proxied.
var proxied = new(testenv.S3)

// fullDisk is the variable that makes this program write to a full disk instead of testing.
const fullDisk = "SHARES_TEST_FULL_DISK"

func TestMain(m *testing.M) {
	if limit := os.Getenv(fullDisk); limit != "" {
		fmt.Println(writeToFullDisk(limit))
		os.Exit(0)
	}
	server := httptest.NewServer(proxied)
	for key, value := range map[string]string{
		"HTTP_PROXY": server.URL, "HTTPS_PROXY": server.URL, "NO_PROXY": "", "http_proxy": "", "https_proxy": "", "no_proxy": "",
		"AWS_ACCESS_KEY_ID": "test-key-id", "AWS_SECRET_ACCESS_KEY": "test-secret-key", "AWS_SESSION_TOKEN": "",
	} {
		if err := os.Setenv(key, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	server.Close()
	os.Exit(code)
}

// startS3 returns an S3 behind TLS and the URL of its bucket.
func startS3(t *testing.T) (*testenv.S3, string) {
	t.Helper()
	s := new(testenv.S3)
	address, certificate := testenv.ServeTLS(t, s)
	t.Setenv("SSL_CERT_FILE", certificate)
	return s, bucketURL(address)
}

func bucketURL(address string) string {
	return "s3://" + testenv.S3Bucket + "?region=us-east-1&s3ForcePathStyle=true&endpoint=" + url.QueryEscape(address)
}

func TestS3Put(t *testing.T) {
	data := picture(t, ".jpg", 1, 100)
	for name, start := range map[string]func(*testing.T) (*testenv.S3, string){
		"https": startS3,
		"http": func(t *testing.T) (*testenv.S3, string) {
			s := new(testenv.S3)
			server := httptest.NewServer(s)
			t.Cleanup(server.Close)
			return s, bucketURL(server.URL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, address := start(t)
			s := open(t, address+"&request_checksum_calculation=when_required")
			if err := s.Put(t.Context(), "qrcode/a.jpg", data); err != nil {
				t.Fatal(err)
			}
			puts, refused := server.Puts()
			if len(puts) != 1 || refused != 0 {
				t.Fatalf("%d writes, of which %d were refused", len(puts), refused)
			}
			for key, want := range map[string]string{
				"Content-Type": "image/jpeg", "Cache-Control": CacheControl, "If-None-Match": "*",
			} {
				if got := puts[0].Get(key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
		})
	}
}

// A server may refuse conditional writes, or another replica may have stored the picture first.
func TestS3ConditionalPut(t *testing.T) {
	for status, want := range map[int]int{http.StatusNotImplemented: 2, http.StatusPreconditionFailed: 1} {
		server, address := startS3(t)
		server.Fault(func(r *http.Request) int {
			if r.Header.Get("If-None-Match") != "" {
				return status
			}
			return 0
		})
		if err := open(t, address).Put(t.Context(), "qrcode/a.jpg", picture(t, ".jpg", 1, 8)); err != nil {
			t.Error(err)
		}
		if puts, _ := server.Puts(); len(puts) != want {
			t.Errorf("%d: %d writes, want %d", status, len(puts), want)
		}
	}
}

// A body that ends before its announced length is an error, not a picture.
func TestS3TruncatedAnswer(t *testing.T) {
	data := picture(t, ".jpg", 1, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("ETag", `"a"`)
		_, _ = w.Write(data[:len(data)/2])
	}))
	defer server.Close()
	s := open(t, bucketURL(server.URL))
	if _, err := s.Get(t.Context(), "a.jpg"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// COS and OSS accept the bucket only in the host name.
func TestS3VirtualHostThroughProxy(t *testing.T) {
	proxied.Fault(func(r *http.Request) int {
		if r.Host != testenv.S3Bucket+".cos.ap-guangzhou.example.test" || r.URL.Path != "/qrcode/a.png" {
			t.Errorf("%s of %s%s", r.Method, r.Host, r.URL.Path)
		}
		return 0
	})
	s := open(t, "s3://"+testenv.S3Bucket+"?region=ap-guangzhou&endpoint=http://cos.ap-guangzhou.example.test&request_checksum_calculation=when_required")
	if err := s.Put(t.Context(), "qrcode/a.png", picture(t, ".png", 1, 100)); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Exists(t.Context(), "qrcode/a.png"); !ok || err != nil {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	if _, err := s.Get(t.Context(), "qrcode/a.png"); err != nil {
		t.Error(err)
	}
	if puts, refused := proxied.Puts(); len(puts) != 1 || refused != 0 {
		t.Errorf("%d writes through the proxy, %d refused, want 1", len(puts), refused)
	}
}

func TestS3Faults(t *testing.T) {
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); hanging.Close() })
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(broken.Close)
	dead := httptest.NewServer(nil)
	dead.Close()
	_, other := startS3(t)

	data := picture(t, ".jpg", 1, 8)
	calls := map[string]func(context.Context, *Store) error{
		"exists": func(ctx context.Context, s *Store) error { _, err := s.Exists(ctx, "a.jpg"); return err },
		"get":    func(ctx context.Context, s *Store) error { _, err := s.Get(ctx, "a.jpg"); return err },
		"put":    func(ctx context.Context, s *Store) error { return s.Put(ctx, "a.jpg", data) },
	}
	for fault, addr := range map[string]string{"hanging": hanging.URL, "forbidden": broken.URL, "dead": dead.URL} {
		for call, f := range calls {
			t.Run(fault+"/"+call, func(t *testing.T) {
				t.Parallel()
				s := open(t, bucketURL(addr))
				err := f(t.Context(), s)
				if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if text := fmt.Sprint(err); strings.Contains(text, "test-secret-key") || strings.Contains(text, "Signature") {
					t.Errorf("the error contains a secret: %s", text)
				}
			})
		}
	}
	t.Run("no such bucket", func(t *testing.T) {
		s := open(t, strings.Replace(other, testenv.S3Bucket, "nowhere", 1))
		if err := s.Put(t.Context(), "a.jpg", data); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Put: %v", err)
		}
	})
	t.Run("caller's deadline", func(t *testing.T) {
		s := open(t, bucketURL(hanging.URL))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.Get(ctx, "a.jpg"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
