// Package pictures stores QR codes and avatars in a bucket that all replicas share: a folder or an
// S3 bucket. A picture never changes under its name and is never overwritten, so readers may cache
// it without limit. No type of the storage library leaves this package.
package pictures

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// MaxBytes is the size of the largest picture that a Store takes or returns.
const MaxBytes = 4 << 20

// CacheControl is the Cache-Control header that pictures are stored and served with.
const CacheControl = "public, max-age=31536000, immutable"

const (
	callTimeout   = 3 * time.Second
	maxNameLength = 128

	// Pictures in memory. A picture that is deleted from the bucket is served for recentLife.
	recentBytes = 16 << 20
	recentLife  = 10 * time.Minute
)

var (
	// ErrNotFound says that the bucket has no picture of that name.
	ErrNotFound = errors.New("picture not found")
	// ErrUnavailable says that the bucket did not answer in time, or refused the call.
	ErrUnavailable = errors.New("bucket unavailable")
)

// validName allows one dot only, before the extension, so that a name can reach neither a parent
// folder nor a temporary file.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*\.(jpg|png)$`)

// bucket is where the objects are. A missing object is fs.ErrNotExist. put keeps an object that is
// there and not empty.
type bucket interface {
	exists(ctx context.Context, name string) (bool, error)
	put(ctx context.Context, name, contentType string, data []byte) error
	// get returns a reader and the number of bytes that it must return.
	get(ctx context.Context, name string) (io.ReadCloser, int64, error)
}

// Store is an open bucket. It is safe for concurrent use.
type Store struct {
	bucket  bucket
	timeout time.Duration // of a call to the bucket
	recent  *otter.Cache[string, Picture]
	calls   *prometheus.CounterVec
}

// Picture is a stored picture.
type Picture struct {
	Data        []byte // shared: it must not be changed
	ContentType string // image/jpeg or image/png, detected from Data
	ETag        string // strong, in quotes, made from Data: equal on all replicas
}

// Open opens a bucket: a path or file:// URL of a folder, which it makes, or an s3:// URL, which it
// does not call yet.
func Open(where string, metrics prometheus.Registerer) (*Store, error) {
	b, err := openBucket(where)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return &Store{
		bucket:  b,
		timeout: callTimeout,
		recent: otter.Must(&otter.Options[string, Picture]{
			MaximumWeight:    recentBytes,
			Weigher:          func(_ string, p Picture) uint32 { return uint32(len(p.Data)) },
			ExpiryCalculator: otter.ExpiryWriting[string, Picture](recentLife),
		}),
		calls: promauto.With(metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_pictures_calls_total",
			Help: "Calls to the bucket, by call (exists, get, put) and result " +
				"(ok, not_found, canceled, error).",
		}, []string{"call", "result"}),
	}, nil
}

func openBucket(where string) (bucket, error) {
	if !strings.Contains(where, "://") {
		return openFolder(where)
	}
	u, err := url.Parse(where)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	switch {
	case u.Scheme == "s3":
		return openS3(u)
	case u.Scheme != "file":
		return nil, fmt.Errorf("scheme %q is neither file nor s3", u.Scheme)
	case u.Host != "" && u.Host != "localhost":
		return nil, errors.New("the URL of a folder has three slashes, file:///path")
	case u.Path == "" || u.Path == "/":
		return nil, errors.New("the URL names no folder")
	}
	if err := checkOptions(u, nil); err != nil {
		return nil, err
	}
	return openFolder(filepath.FromSlash(u.Path))
}

// checkOptions refuses a query parameter that is not among allowed.
func checkOptions(u *url.URL, allowed map[string]string) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	for key, values := range query {
		if want, ok := allowed[key]; !ok || want != "" && values[0] != want {
			return fmt.Errorf("parameter %s=%s is unknown, or can only be %q", key, values[0], want)
		}
	}
	return nil
}

// Exists reports whether the bucket holds a picture of that name. Its error is ErrUnavailable or
// ctx's.
func (s *Store) Exists(ctx context.Context, name string) (found bool, err error) {
	if !isName(name) {
		return false, nil
	}
	err = s.call(ctx, "exists", func(ctx context.Context) (err error) {
		found, err = s.bucket.exists(ctx, name)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return found, err
}

// Put stores a JPEG or PNG under name: a reader sees all of it or nothing. A picture that is there
// stays, and Put returns nil. Its error is ErrUnavailable, ctx's, or says that it is no picture.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	contentType := typeOf(data)
	if !isName(name) || contentType == "" {
		return fmt.Errorf("put picture: no name or content of a picture: %d bytes", len(data))
	}
	return s.call(ctx, "put", func(ctx context.Context) error {
		return s.bucket.put(ctx, name, contentType, data)
	})
}

// Get returns the picture of that name. A name that no picture can have is not found. Concurrent
// calls for one name share one read and one copy. Its error is ErrNotFound, ErrUnavailable or
// ctx's.
func (s *Store) Get(ctx context.Context, name string) (Picture, error) {
	if !isName(name) {
		return Picture{}, fmt.Errorf("get picture: %w", ErrNotFound)
	}
	p, err := s.recent.Get(ctx, name, otter.LoaderFunc[string, Picture](s.read))
	if err != nil && ctx.Err() != nil {
		return Picture{}, fmt.Errorf("get picture: %w", ctx.Err())
	}
	return p, err
}

// read reads a picture for all callers that wait for it: it continues when the first one leaves.
func (s *Store) read(ctx context.Context, name string) (Picture, error) {
	var data []byte
	err := s.call(context.WithoutCancel(ctx), "get", func(ctx context.Context) error {
		r, size, err := s.bucket.get(ctx, name)
		if err != nil {
			return err
		}
		defer r.Close()
		data, err = io.ReadAll(io.LimitReader(r, MaxBytes+1))
		if err == nil && int64(len(data)) != min(size, MaxBytes+1) {
			return fmt.Errorf("read %d of %d bytes", len(data), size)
		}
		return err
	})
	if err != nil {
		return Picture{}, err
	}
	contentType := typeOf(data)
	if contentType == "" { // Put did not store it, and a browser must not get it from our origin
		return Picture{}, fmt.Errorf("get picture: %w: the object is no picture", ErrNotFound)
	}
	sum := sha256.Sum256(data)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return Picture{Data: data, ContentType: contentType, ETag: etag}, nil
}

// call runs one call to the bucket within the timeout, counts it and names its error. The bucket's
// error is kept as text only: its own timeout must not look like the caller's.
func (s *Store) call(ctx context.Context, name string, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := ctx.Err() // a folder does not look at it
	if err == nil {
		err = f(bounded)
	}
	result := "ok"
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && name != "put": // put: the bucket itself is missing
		result, err = "not_found", fmt.Errorf("%s picture: %w", name, ErrNotFound)
	case ctx.Err() != nil:
		result, err = "canceled", fmt.Errorf("%s picture: %w", name, ctx.Err())
	default:
		result, err = "error", fmt.Errorf("%s picture: %w: %v", name, ErrUnavailable, err)
	}
	s.calls.WithLabelValues(name, result).Inc()
	return err
}

// typeOf returns image/jpeg or image/png, or "" for what is not stored.
func typeOf(data []byte) string {
	contentType := http.DetectContentType(data)
	if len(data) > MaxBytes || contentType != "image/jpeg" && contentType != "image/png" {
		return ""
	}
	return contentType
}

func isName(name string) bool {
	return len(name) <= maxNameLength && validName.MatchString(name)
}
