package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://
	_ "gocloud.dev/blob/memblob"  // mem://
	_ "gocloud.dev/blob/s3blob"   // s3://
	"gocloud.dev/gcerrors"
)

// MaxBytes is the size of the largest picture, in bytes, that a Store takes or
// hands out. WeChat's largest code (1280 pixels) stays far below it.
const MaxBytes = 4 << 20

// CacheControl is what a picture is stored and served with: its content never
// changes under its name.
const CacheControl = "public, max-age=31536000, immutable"

const (
	defaultTimeout = 3 * time.Second
	maxNameLength  = 128

	// An image that is kept in memory is at most this large, so that
	// Options.RecentImages bounds memory too.
	maxRecentBytes = 256 << 10
	// Deleting a picture from the bucket takes effect everywhere after this.
	recentLife = 10 * time.Minute
)

var (
	// ErrNotFound says that the bucket has no picture of that name.
	ErrNotFound = errors.New("picture not found")
	// ErrName says that a name is not one that a picture can have.
	ErrName = errors.New("not a picture's name")
	// ErrContent says that data is empty, too large, or of a type that is not
	// stored.
	ErrContent = errors.New("not a picture that can be stored")
	// ErrUnavailable says that the bucket did not answer in time or failed.
	ErrUnavailable = errors.New("bucket unavailable")
)

// validName allows no dot but the one before the extension: neither a parent
// folder nor a temporary file of the file driver can be named.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*\.(jpg|png)$`)

// Options of Open. The zero value works.
type Options struct {
	// Timeout bounds each call to the bucket, retries included; 0 is 3 s. The
	// file driver is as patient as the file system under it.
	Timeout time.Duration
	// RecentImages is how many images (each up to 256 KiB, for up to 10
	// minutes) Get keeps in memory; 0 keeps none.
	RecentImages int
	// Metrics registers shares_images_calls_total; nil registers nothing. Two
	// stores cannot register at one registerer: a process opens one and shares
	// it.
	Metrics prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Store is an open bucket. It is safe for concurrent use.
type Store struct {
	bucket  *blob.Bucket
	timeout time.Duration
	recent  *lru.Cache[string, recentImage] // nil: keep none
	now     func() time.Time
	calls   *prometheus.CounterVec
}

type recentImage struct {
	image Image
	until time.Time
}

// Image is a stored picture.
type Image struct {
	// Data is the file; it is shared and must not be changed.
	Data []byte
	// ContentType is image/jpeg or image/png, told from Data itself.
	ContentType string
	// ETag is a strong validator in quotes, made from Data: the same on every
	// replica and driver.
	ETag string
}

// Open opens the bucket that bucketURL names, in a form the package comment
// lists. It does not call a remote bucket yet: Ping does.
func Open(ctx context.Context, bucketURL string, opts Options) (*Store, error) {
	u, err := withDefaults(bucketURL)
	if err != nil {
		return nil, fmt.Errorf("open picture bucket: %w", err)
	}
	bucket, err := blob.OpenBucket(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open picture bucket: %w", err)
	}
	s := &Store{
		bucket:  bucket,
		timeout: opts.Timeout,
		now:     opts.Now,
		calls: promauto.With(opts.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_images_calls_total",
			Help: "Calls to the picture bucket, by call (ping, exists, get, put) and result (ok, not_found, canceled, error).",
		}, []string{"call", "result"}),
	}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.now == nil {
		s.now = time.Now
	}
	if opts.RecentImages > 0 {
		if s.recent, err = lru.New[string, recentImage](opts.RecentImages); err != nil {
			return nil, fmt.Errorf("open picture bucket: %w", err)
		}
	}
	return s, nil
}

// FileURL returns the bucket URL of a folder, which may be relative to the
// working directory.
func FileURL(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("picture folder: %w", err)
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String(), nil
}

// withDefaults adds what every bucket of a kind needs and refuses what the
// drivers would silently misread.
func withDefaults(bucketURL string) (string, error) {
	u, err := url.Parse(bucketURL)
	if err != nil {
		return "", err
	}
	q := u.Query()
	switch u.Scheme {
	case "file":
		// The driver drops the host: file://data/pictures would be /pictures.
		if u.Host != "" && u.Host != "." && u.Host != "localhost" {
			return "", fmt.Errorf("%q: a folder's URL has three slashes, file:///path", bucketURL)
		}
		if u.Path == "" || u.Path == "/" {
			return "", fmt.Errorf("%q names no folder", bucketURL)
		}
		q.Set("create_dir", "true")
		// A temporary file on another file system could not be renamed.
		q.Set("no_tmp_dir", "true")
		// The content type is told from the picture; a second file per
		// picture could not be written atomically with it.
		q.Set("metadata", "skip")
	case "s3":
		if u.Host == "" {
			return "", fmt.Errorf("%q names no bucket", bucketURL)
		}
		if q.Get("endpoint") != "" {
			for _, key := range []string{"request_checksum_calculation", "response_checksum_validation"} {
				if !q.Has(key) {
					q.Set(key, "when_required")
				}
			}
		}
	case "mem":
	default:
		return "", fmt.Errorf("scheme %q is none of file, s3, mem", u.Scheme)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// Ping reports whether the bucket exists and the credentials may list it; its
// error is ErrUnavailable or ctx's.
func (s *Store) Ping(ctx context.Context) error {
	return s.call(ctx, "ping", func(ctx context.Context) error {
		ok, err := s.bucket.IsAccessible(ctx)
		if err == nil && !ok {
			err = errors.New("no such bucket")
		}
		return err
	})
}

// Exists reports whether the bucket holds a picture of that name. Its error is
// ErrName, ErrUnavailable or ctx's.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	if !isName(name) {
		return false, fmt.Errorf("picture exists: %w", ErrName)
	}
	var found bool
	err := s.call(ctx, "exists", func(ctx context.Context) error {
		attrs, err := s.bucket.Attributes(ctx, name)
		// After a power cut a renamed file can be empty: it is made again.
		found = err == nil && attrs.Size > 0
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return found, err
}

// Put stores data under name, at once and as a whole: a reader sees all of it
// or nothing, also when the process is killed. contentType, image/jpeg or
// image/png, is what a CDN in front of the bucket answers with. An existing
// picture is replaced. Its error is ErrName, ErrContent, ErrUnavailable or
// ctx's.
func (s *Store) Put(ctx context.Context, name, contentType string, data []byte) error {
	if !isName(name) {
		return fmt.Errorf("put picture: %w", ErrName)
	}
	if len(data) == 0 || len(data) > MaxBytes {
		return fmt.Errorf("put picture: %w: %d bytes", ErrContent, len(data))
	}
	if contentType != "image/jpeg" && contentType != "image/png" {
		return fmt.Errorf("put picture: %w: content type %q", ErrContent, contentType)
	}
	return s.call(ctx, "put", func(ctx context.Context) error {
		return s.bucket.WriteAll(ctx, name, data, &blob.WriterOptions{
			ContentType:  contentType,
			CacheControl: CacheControl,
		})
	})
}

// Get returns the picture of that name. The name may be whatever a client
// sent: one that no picture can have is not found. Its error is ErrNotFound,
// ErrUnavailable or ctx's.
func (s *Store) Get(ctx context.Context, name string) (Image, error) {
	if !isName(name) {
		return Image{}, fmt.Errorf("get picture: %w", ErrNotFound)
	}
	if img, ok := s.recentImage(name); ok {
		return img, nil
	}
	var data []byte
	err := s.call(ctx, "get", func(ctx context.Context) error {
		r, err := s.bucket.NewReader(ctx, name, nil)
		if err != nil {
			return err
		}
		defer r.Close()
		data, err = io.ReadAll(io.LimitReader(r, MaxBytes+1))
		return err
	})
	if err != nil {
		return Image{}, err
	}
	contentType := http.DetectContentType(data)
	if len(data) > MaxBytes || contentType != "image/jpeg" && contentType != "image/png" {
		// Whatever it is, it was not put here by Put, and a browser must not
		// get it from our origin.
		return Image{}, fmt.Errorf("get picture: %w: the object is no picture", ErrNotFound)
	}
	sum := sha256.Sum256(data)
	img := Image{Data: data, ContentType: contentType, ETag: `"` + hex.EncodeToString(sum[:16]) + `"`}
	if s.recent != nil && len(data) <= maxRecentBytes {
		s.recent.Add(name, recentImage{img, s.now().Add(recentLife)})
	}
	return img, nil
}

// Close releases the bucket; calls after it fail.
func (s *Store) Close() error {
	if err := s.bucket.Close(); err != nil {
		return fmt.Errorf("close picture bucket: %w", err)
	}
	return nil
}

func (s *Store) recentImage(name string) (Image, bool) {
	if s.recent == nil {
		return Image{}, false
	}
	r, ok := s.recent.Get(name)
	return r.image, ok && s.now().Before(r.until)
}

// call runs one call to the bucket within the timeout, counts it and gives its
// error a name of this package. The driver's error is kept as text only: its
// own timeout must not look like the caller's.
func (s *Store) call(ctx context.Context, name string, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := ctx.Err() // the folder and memory drivers do not look at it everywhere
	if err == nil {
		err = f(bounded)
	}
	result := "ok"
	switch {
	case err == nil:
	case gcerrors.Code(err) == gcerrors.NotFound && name != "put": // put: the bucket is missing
		result, err = "not_found", fmt.Errorf("%s picture: %w", name, ErrNotFound)
	case ctx.Err() != nil:
		result, err = "canceled", fmt.Errorf("%s picture: %w", name, ctx.Err())
	default:
		result, err = "error", fmt.Errorf("%s picture: %w: %v", name, ErrUnavailable, err)
	}
	s.calls.WithLabelValues(name, result).Inc()
	return err
}

func isName(name string) bool {
	return len(name) <= maxNameLength && validName.MatchString(name)
}
