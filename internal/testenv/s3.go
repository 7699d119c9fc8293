package testenv

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// S3Bucket is the name of the bucket of an S3.
const S3Bucket = "pictures"

// S3 serves an in-memory bucket with the part of the S3 protocol that the service uses, by path or
// by host name. Like COS and OSS, it refuses bodies that are chunked or end in a checksum. It does
// not verify signatures. The zero value is an empty bucket.
type S3 struct {
	mu      sync.Mutex
	objects map[string]s3Object
	puts    []http.Header
	refused int
	fault   func(*http.Request) int
}

type s3Object struct {
	header http.Header
	data   []byte
	stored time.Time
}

// Names returns the names of the objects.
func (s *S3) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.objects))
}

// Puts returns the headers of all writes, and how many writes were refused because COS and OSS
// would refuse the form of their body.
func (s *S3) Puts() (headers []http.Header, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts, s.refused
}

// Fault makes the bucket answer every request with the status that fault returns, unless that is 0.
func (s *S3) Fault(fault func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// ServeHTTP implements http.Handler.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut {
		s.puts = append(s.puts, r.Header.Clone())
	}
	if s.fault != nil {
		if status := s.fault(r); status != 0 {
			s3Error(w, status, http.StatusText(status))
			return
		}
	}
	name := r.URL.Path[1:]
	if !strings.HasPrefix(r.Host, S3Bucket+".") {
		var bucket string
		if bucket, name, _ = strings.Cut(name, "/"); bucket != S3Bucket {
			s3Error(w, http.StatusNotFound, "NoSuchBucket")
			return
		}
	}
	object, found := s.objects[name]
	switch {
	case r.Method == http.MethodDelete:
		delete(s.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet && name == "":
		s.list(w, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodPut:
		s.put(w, r, name, found)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		s3Error(w, http.StatusNotImplemented, "NotImplemented")
	case !found:
		s3Error(w, http.StatusNotFound, "NoSuchKey")
	default:
		for key, values := range object.header {
			w.Header()[key] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(object.data)))
		_, _ = w.Write(object.data)
	}
}

// list answers ListObjectsV2 in one page.
func (s *S3) list(w http.ResponseWriter, prefix string) {
	fmt.Fprint(w, "<ListBucketResult>")
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(name, prefix) {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><LastModified>%s</LastModified></Contents>",
				name, s.objects[name].stored.Format(time.RFC3339Nano))
		}
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// Age makes an object older.
func (s *S3) Age(name string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := s.objects[name]
	object.stored = object.stored.Add(-by)
	s.objects[name] = object
}

func (s *S3) put(w http.ResponseWriter, r *http.Request, name string, found bool) {
	switch {
	case strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked"),
		strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-"),
		r.Header.Get("X-Amz-Trailer") != "", r.ContentLength < 0:
		s.refused++
		s3Error(w, http.StatusNotImplemented, "NotImplemented")
		return
	case r.Header.Get("If-None-Match") == "*" && found:
		s3Error(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		s3Error(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	sum := md5.Sum(data)
	header := http.Header{
		"Content-Type":  r.Header["Content-Type"],
		"Etag":          {`"` + hex.EncodeToString(sum[:]) + `"`},
		"Last-Modified": {time.Now().UTC().Format(http.TimeFormat)},
	}
	if s.objects == nil {
		s.objects = make(map[string]s3Object)
	}
	s.objects[name] = s3Object{header, data, time.Now().UTC()}
	w.Header()["Etag"] = header["Etag"]
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

// ServeTLS serves h over TLS until the test ends. It returns the URL and a file with the certificate.
func ServeTLS(t testing.TB, h http.Handler) (url, certificate string) {
	t.Helper()
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(certificate, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, certificate
}
