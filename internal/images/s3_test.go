package images

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// The process reads its proxies from the environment once, so they are set
// before any test runs. Loopback addresses are never proxied.
var proxy = &proxyServer{behind: make(map[string]http.Handler)}

func TestMain(m *testing.M) {
	if bucketURL := os.Getenv(writerFolder); bucketURL != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(bucketURL))
		os.Exit(1)
	}
	server := httptest.NewServer(proxy)
	for key, value := range map[string]string{
		"HTTP_PROXY": server.URL, "HTTPS_PROXY": server.URL, "NO_PROXY": "", "http_proxy": "", "https_proxy": "", "no_proxy": "",
		"AWS_ACCESS_KEY_ID": "test-key-id", "AWS_SECRET_ACCESS_KEY": "test-secret-key", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		if err := os.Setenv(key, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	server.Close()
	os.Exit(code)
}

// proxyServer is a forward proxy to servers that exist only behind it.
type proxyServer struct {
	mu       sync.Mutex
	behind   map[string]http.Handler // by host
	connects []string
}

func (p *proxyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Method == http.MethodConnect {
		p.connects = append(p.connects, r.Host)
		http.Error(w, "no tunnels here", http.StatusForbidden)
		return
	}
	if h, ok := p.behind[r.Host]; ok {
		h.ServeHTTP(w, r)
		return
	}
	http.Error(w, "no such host", http.StatusBadGateway)
}

func (p *proxyServer) add(t *testing.T, host string, h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind[host] = h
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.behind, host)
	})
}

// likeCOS refuses the bodies that COS and OSS refuse, with their answers.
func likeCOS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked"),
			strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-"),
			r.Header.Get("X-Amz-Trailer") != "":
			w.WriteHeader(http.StatusNotImplemented)
			fmt.Fprint(w, `<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented.</Message></Error>`)
		case r.Method == http.MethodPut && r.ContentLength < 0:
			w.WriteHeader(http.StatusLengthRequired)
			fmt.Fprint(w, `<Error><Code>MissingContentLength</Code></Error>`)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

type s3Server struct {
	addr string

	mu   sync.Mutex
	puts []http.Header
}

func newS3(t *testing.T, opts ...gofakes3.Option) http.Handler {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("pictures"); err != nil {
		t.Fatal(err)
	}
	return gofakes3.New(backend, opts...).Server()
}

// startS3 speaks TLS, because the SDK sends trailing checksums over TLS only.
func startS3(t *testing.T) *s3Server {
	t.Helper()
	s := &s3Server{}
	next := likeCOS(newS3(t))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			s.mu.Lock()
			s.puts = append(s.puts, r.Header.Clone())
			s.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", ca)
	s.addr = server.URL
	return s
}

func (s *s3Server) url(more string) string {
	return "s3://pictures?region=us-east-1&s3ForcePathStyle=true&endpoint=" + url.QueryEscape(s.addr) + more
}

func TestS3ChecksumsInTrailers(t *testing.T) {
	data := picture(t, ".jpg", 1, 100)
	for _, tc := range []struct {
		options string
		ok      bool
	}{
		{"", true}, // an endpoint that is not AWS: the default is ours
		{"&request_checksum_calculation=when_required", true},
		{"&request_checksum_calculation=when_supported", false}, // the SDK's default; shows that the server does refuse
	} {
		t.Run(tc.options, func(t *testing.T) {
			server := startS3(t)
			s := open(t, server.url(tc.options), Options{})
			err := s.Put(t.Context(), "qrcode/a.jpg", "image/jpeg", data)
			if !tc.ok {
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v, want a refusal", err)
				}
				if diff := cmp.Diff("aws-chunked", server.puts[0].Get("Content-Encoding")); diff != "" {
					t.Error(diff)
				}
				if ok, err := s.Exists(t.Context(), "qrcode/a.jpg"); ok || err != nil {
					t.Errorf("Exists: %v, %v", ok, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// What a CDN in front of the bucket passes on.
			for key, want := range map[string]string{"Content-Type": "image/jpeg", "Cache-Control": CacheControl} {
				if diff := cmp.Diff(want, server.puts[0].Get(key)); diff != "" {
					t.Errorf("%s: %s", key, diff)
				}
			}
		})
	}
}

// COS and OSS take the bucket in the host name only.
func TestS3VirtualHostThroughProxy(t *testing.T) {
	var mu sync.Mutex
	paths := map[string]bool{}
	next := likeCOS(newS3(t, gofakes3.WithHostBucketBase("cos.ap-guangzhou.example.test")))
	proxy.add(t, "pictures.cos.ap-guangzhou.example.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths[r.Method+" "+r.URL.Path] = true
		mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	s := open(t, "s3://pictures?region=ap-guangzhou&endpoint=http://cos.ap-guangzhou.example.test&request_checksum_calculation=when_required", Options{})
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Put(t.Context(), "qrcode/a.png", "image/png", picture(t, ".png", 1, 100)); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Exists(t.Context(), "qrcode/a.png"); !ok || err != nil {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	if _, err := s.Get(t.Context(), "qrcode/a.png"); err != nil {
		t.Error(err)
	}
	want := map[string]bool{"GET /": true, "PUT /qrcode/a.png": true, "HEAD /qrcode/a.png": true, "GET /qrcode/a.png": true}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
}

func TestS3HTTPSProxy(t *testing.T) {
	s := open(t, "s3://pictures?region=oss-cn-hangzhou&endpoint=https://oss-cn-hangzhou.example.test", Options{Timeout: 500 * time.Millisecond})
	if _, err := s.Exists(t.Context(), "a.png"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	if len(proxy.connects) == 0 || proxy.connects[0] != "pictures.oss-cn-hangzhou.example.test:443" {
		t.Errorf("the proxy was asked for %q", proxy.connects)
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
	other := startS3(t)

	const timeout = 300 * time.Millisecond
	data := picture(t, ".jpg", 1, 8)
	calls := map[string]func(context.Context, *Store) error{
		"ping":   func(ctx context.Context, s *Store) error { return s.Ping(ctx) },
		"exists": func(ctx context.Context, s *Store) error { _, err := s.Exists(ctx, "a.jpg"); return err },
		"get":    func(ctx context.Context, s *Store) error { _, err := s.Get(ctx, "a.jpg"); return err },
		"put":    func(ctx context.Context, s *Store) error { return s.Put(ctx, "a.jpg", "image/jpeg", data) },
	}
	for fault, addr := range map[string]string{"hanging": hanging.URL, "forbidden": broken.URL, "dead": dead.URL} {
		for call, f := range calls {
			t.Run(fault+"/"+call, func(t *testing.T) {
				t.Parallel()
				s := open(t, (&s3Server{addr: addr}).url(""), Options{Timeout: timeout})
				start := time.Now()
				err := f(t.Context(), s)
				if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took > timeout+2*time.Second {
					t.Errorf("took %v", took)
				}
				if text := fmt.Sprint(err); strings.Contains(text, "test-secret-key") || strings.Contains(text, "Signature") {
					t.Errorf("the error tells too much: %s", text)
				}
			})
		}
	}
	t.Run("no such bucket", func(t *testing.T) {
		s := open(t, strings.Replace(other.url(""), "pictures", "nowhere", 1), Options{})
		if err := s.Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Ping: %v", err)
		}
		if err := s.Put(t.Context(), "a.jpg", "image/jpeg", data); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Put: %v", err)
		}
	})
	t.Run("caller hangs up", func(t *testing.T) {
		s := open(t, (&s3Server{addr: hanging.URL}).url(""), Options{Timeout: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.Get(ctx, "a.jpg"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
