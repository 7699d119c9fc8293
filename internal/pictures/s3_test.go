package pictures

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
	"strconv"
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

// fullDisk has this program write to a full disk instead of testing.
const fullDisk = "SHARES_TEST_FULL_DISK"

func TestMain(m *testing.M) {
	if bucketURL := os.Getenv(writerFolder); bucketURL != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(bucketURL))
		os.Exit(1)
	}
	if limit := os.Getenv(fullDisk); limit != "" {
		fmt.Println(writeToFullDisk(limit))
		os.Exit(0)
	}
	server := httptest.NewServer(proxy)
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
	addr        string
	conditional int // status of a conditional write; 0: it is taken

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

func startS3(t *testing.T, plain bool) *s3Server {
	t.Helper()
	s := &s3Server{}
	next := likeCOS(newS3(t))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			s.mu.Lock()
			s.puts = append(s.puts, r.Header.Clone())
			s.mu.Unlock()
			if s.conditional != 0 && r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(s.conditional)
				return
			}
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	if plain {
		server.Start()
		s.addr = server.URL
		return s
	}
	server.StartTLS()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", ca)
	s.addr = server.URL
	return s
}

func (s *s3Server) url(more string) string {
	return "s3://pictures?region=us-east-1&s3ForcePathStyle=true&endpoint=" + url.QueryEscape(s.addr) + more
}

func TestS3Put(t *testing.T) {
	data := picture(t, ".jpg", 1, 100)
	for name, plain := range map[string]bool{"https": false, "http": true} {
		t.Run(name, func(t *testing.T) {
			server := startS3(t, plain)
			s := open(t, server.url("&request_checksum_calculation=when_required"))
			if err := s.Put(t.Context(), "qrcode/a.jpg", data); err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]string{
				"Content-Type": "image/jpeg", "Cache-Control": CacheControl, "If-None-Match": "*",
			} {
				if diff := cmp.Diff(want, server.puts[0].Get(key)); diff != "" {
					t.Errorf("%s: %s", key, diff)
				}
			}
		})
	}
}

// Some servers refuse a conditional write, and one may find that another replica was faster.
func TestS3ConditionalPut(t *testing.T) {
	for status, puts := range map[int]int{http.StatusNotImplemented: 2, http.StatusPreconditionFailed: 1} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			server := startS3(t, false)
			server.conditional = status
			s := open(t, server.url(""))
			if err := s.Put(t.Context(), "qrcode/a.jpg", picture(t, ".jpg", 1, 8)); err != nil {
				t.Error(err)
			}
			if len(server.puts) != puts {
				t.Errorf("%d writes, want %d", len(server.puts), puts)
			}
		})
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
	s := open(t, (&s3Server{addr: server.URL}).url(""))
	if _, err := s.Get(t.Context(), "a.jpg"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
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
	s := open(t, "s3://pictures?region=ap-guangzhou&endpoint=http://cos.ap-guangzhou.example.test&request_checksum_calculation=when_required")
	if err := s.Put(t.Context(), "qrcode/a.png", picture(t, ".png", 1, 100)); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Exists(t.Context(), "qrcode/a.png"); !ok || err != nil {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	if _, err := s.Get(t.Context(), "qrcode/a.png"); err != nil {
		t.Error(err)
	}
	want := map[string]bool{"PUT /qrcode/a.png": true, "HEAD /qrcode/a.png": true, "GET /qrcode/a.png": true}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
}

func TestS3HTTPSProxy(t *testing.T) {
	s := open(t, "s3://pictures?region=oss-cn-hangzhou&endpoint=https://oss-cn-hangzhou.example.test")
	s.timeout = 500 * time.Millisecond
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
	other := startS3(t, false)

	const timeout = 300 * time.Millisecond
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
				s := open(t, (&s3Server{addr: addr}).url(""))
				s.timeout = timeout
				start := time.Now()
				err := f(t.Context(), s)
				if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took > time.Minute {
					t.Errorf("took %v", took)
				}
				if text := fmt.Sprint(err); strings.Contains(text, "test-secret-key") || strings.Contains(text, "Signature") {
					t.Errorf("the error tells too much: %s", text)
				}
			})
		}
	}
	t.Run("no such bucket", func(t *testing.T) {
		s := open(t, strings.Replace(other.url(""), "pictures", "nowhere", 1))
		if err := s.Put(t.Context(), "a.jpg", data); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Put: %v", err)
		}
	})
	t.Run("caller hangs up", func(t *testing.T) {
		s := open(t, (&s3Server{addr: hanging.URL}).url(""))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.Get(ctx, "a.jpg"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
