// Package pictures stores QR codes and avatars in a bucket that all replicas share: a folder or an
// S3 bucket. A stored picture is never overwritten, and its name is never used again. The package
// exposes no type of the storage library.
package pictures

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
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

// MaxBytes is the size limit of a picture.
const MaxBytes = 4 << 20

// CacheControl is the Cache-Control header of stored and served pictures.
const CacheControl = "public, max-age=31536000, immutable"

const (
	callTimeout   = 3 * time.Second
	maxNameLength = 128

	// Limits of the pictures in memory. A picture is served for recentLife after it has been
	// deleted from the bucket.
	recentBytes = 16 << 20
	recentLife  = time.Minute
)

var (
	// ErrNotFound means that the bucket has no picture of that name.
	ErrNotFound = errors.New("picture not found")
	// ErrUnavailable means that the bucket did not answer in time or refused the call.
	ErrUnavailable = errors.New("bucket unavailable")
)

// validName allows only one dot, before the extension, so that a name matches neither a parent
// folder nor a temporary file.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*\.(jpg|png)$`)

// bucket stores the objects. Its error for a missing object is fs.ErrNotExist. put does not
// overwrite an object. get returns at most MaxBytes+1 bytes. list stops after an error.
type bucket interface {
	exists(ctx context.Context, name string) error
	put(ctx context.Context, name, contentType string, data []byte) error
	get(ctx context.Context, name string) ([]byte, error)
	remove(ctx context.Context, name string) error
	list(ctx context.Context, prefix string) iter.Seq2[Object, error]
}

// Object is an entry of List.
type Object struct {
	Name     string
	Modified time.Time // when it was stored
}

// Store is an open bucket. It is safe for concurrent use.
type Store struct {
	bucket bucket
	recent *otter.Cache[string, Picture]
	calls  *prometheus.CounterVec
}

// Picture is a stored picture.
type Picture struct {
	Data        []byte // shared: do not change it
	ContentType string // image/jpeg or image/png, detected from Data
	ETag        string // strong, in quotes; a hash of Data, so equal on all replicas
}

// Open opens a bucket. where is the path or file:// URL of a folder, which Open creates if
// necessary, or an s3:// URL, which Open does not call.
func Open(where string, metrics prometheus.Registerer) (*Store, error) {
	b, err := openBucket(where)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return &Store{
		bucket: b,
		recent: otter.Must(&otter.Options[string, Picture]{
			MaximumWeight:    recentBytes,
			Weigher:          func(_ string, p Picture) uint32 { return uint32(len(p.Data)) },
			ExpiryCalculator: otter.ExpiryWriting[string, Picture](recentLife),
		}),
		calls: promauto.With(metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_pictures_calls_total",
			Help: "Calls to the bucket, by call (exists, get, put, remove) and result " +
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
		return nil, errors.New("the URL of a folder needs three slashes, file:///path")
	case u.Path == "" || u.Path == "/":
		return nil, errors.New("the URL has no folder")
	}
	if err := checkOptions(u, nil); err != nil {
		return nil, err
	}
	return openFolder(filepath.FromSlash(u.Path))
}

// checkOptions returns an error for a query parameter that is not in allowed or has another value.
func checkOptions(u *url.URL, allowed map[string]string) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	for key, values := range query {
		if want, ok := allowed[key]; !ok || want != "" && values[0] != want {
			return fmt.Errorf("parameter %s=%s is unknown or can only be %q", key, values[0], want)
		}
	}
	return nil
}

// Exists reports whether the bucket has a picture. Its error is ErrUnavailable or ctx's.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	if !isName(name) {
		return false, nil
	}
	err := s.call(ctx, "exists", func(ctx context.Context) error { return s.bucket.exists(ctx, name) })
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put stores a JPEG or PNG under name. Readers see the complete picture or none. If the name
// exists, Put keeps the old picture and returns nil. It returns ErrUnavailable, ctx's error, or an
// error for an invalid name or picture.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	contentType := typeOf(data)
	if !isName(name) || contentType == "" {
		return fmt.Errorf("put picture: invalid name or picture of %d bytes", len(data))
	}
	return s.call(ctx, "put", func(ctx context.Context) error {
		return s.bucket.put(ctx, name, contentType, data)
	})
}

// Get returns the picture of that name. Concurrent calls for one name share one read and one copy.
// Its error is ErrNotFound, also for an invalid name, ErrUnavailable or ctx's.
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

// read reads a picture for all waiting callers, so it continues after the first one is canceled.
func (s *Store) read(ctx context.Context, name string) (Picture, error) {
	var data []byte
	err := s.call(context.WithoutCancel(ctx), "get", func(ctx context.Context) (err error) {
		data, err = s.bucket.get(ctx, name)
		return err
	})
	if err != nil {
		return Picture{}, err
	}
	contentType := typeOf(data)
	if contentType == "" { // not from Put; a browser must not get it from this origin
		return Picture{}, fmt.Errorf("get picture: %w: the object is not a picture", ErrNotFound)
	}
	sum := sha256.Sum256(data)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return Picture{Data: data, ContentType: contentType, ETag: etag}, nil
}

// Remove deletes the picture of that name, if there is one. Other processes may serve their copy
// for another minute. Its error is ErrUnavailable or ctx's.
func (s *Store) Remove(ctx context.Context, name string) error {
	err := s.call(ctx, "remove", func(ctx context.Context) error { return s.bucket.remove(ctx, name) })
	s.recent.Invalidate(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// List returns the pictures whose names begin with prefix, which ends with a slash. The error of
// the last element is ErrUnavailable or nil.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range s.bucket.list(ctx, prefix) {
			if err != nil {
				yield(Object{}, fmt.Errorf("list pictures: %w: %v", ErrUnavailable, err))
				return
			}
			if isName(o.Name) && !yield(o, nil) {
				return
			}
		}
	}
}

// call makes one call to the bucket within the timeout, counts it and converts its error. The
// result does not wrap the bucket's error, because a timeout of the bucket must not look like the
// caller's.
func (s *Store) call(ctx context.Context, name string, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := ctx.Err() // a folder does not check it
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

// typeOf returns image/jpeg or image/png, or "" for data that is not stored.
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
