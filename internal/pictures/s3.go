package pictures

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Options are the parameters of an s3:// URL; some can have only one value. Old URLs may have the
// two about checksums. Bodies never have a trailing checksum, because COS and OSS refuse it.
var s3Options = map[string]string{
	"region": "", "endpoint": "", "s3ForcePathStyle": "true",
	"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required",
}

// s3Bucket is the bucket of s3://name?region=…&endpoint=…, at AWS, COS, OSS or MinIO. The
// credentials need GetObject, PutObject, DeleteObject and ListBucket: without ListBucket, S3 also
// answers 403 for a missing picture.
type s3Bucket struct {
	client *minio.Client
	name   string
}

func openS3(u *url.URL) (*s3Bucket, error) {
	if err := checkOptions(u, s3Options); err != nil {
		return nil, err
	}
	if u.Host == "" {
		return nil, errors.New("the URL has no bucket")
	}
	if os.Getenv("AWS_ACCESS_KEY_ID") == "" || os.Getenv("AWS_SECRET_ACCESS_KEY") == "" {
		return nil, errors.New("s3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	q := u.Query()
	endpoint := &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}
	if at := q.Get("endpoint"); at != "" {
		var err error
		if endpoint, err = url.Parse(at); err != nil || endpoint.Host == "" {
			return nil, errors.New("the endpoint must be https://host or http://host")
		}
	}
	options := &minio.Options{
		Creds:        credentials.NewEnvAWS(),
		Secure:       endpoint.Scheme == "https",
		Region:       q.Get("region"),
		BucketLookup: minio.BucketLookupDNS, // COS and OSS need it
		MaxRetries:   3,
	}
	if q.Has("s3ForcePathStyle") {
		options.BucketLookup = minio.BucketLookupPath
	}
	client, err := minio.New(endpoint.Host, options)
	if err != nil {
		return nil, err
	}
	return &s3Bucket{client, u.Host}, nil
}

func (b *s3Bucket) exists(ctx context.Context, name string) error {
	_, err := b.client.StatObject(ctx, b.name, name, minio.StatObjectOptions{})
	return s3Error(err)
}

// put checks first whether the object exists, because some servers ignore or refuse If-None-Match.
func (b *s3Bucket) put(ctx context.Context, name, contentType string, data []byte) error {
	if err := b.exists(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	options := minio.PutObjectOptions{
		ContentType:          contentType,
		CacheControl:         CacheControl,
		SendContentMd5:       true,
		DisableContentSha256: true, // else http bodies are sent in signed chunks
		DisableMultipart:     true,
	}
	put := func(options minio.PutObjectOptions) error {
		body := bytes.NewReader(data)
		_, err := b.client.PutObject(ctx, b.name, name, body, int64(len(data)), options)
		return err
	}
	conditional := options
	conditional.SetMatchETagExcept("*")
	err := put(conditional)
	switch minio.ToErrorResponse(err).StatusCode {
	case http.StatusPreconditionFailed: // another replica has stored it
		return nil
	case http.StatusNotImplemented:
		err = put(options)
	}
	return s3Error(err)
}

func (b *s3Bucket) get(ctx context.Context, name string) ([]byte, error) {
	object, err := b.client.GetObject(ctx, b.name, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer object.Close()
	data, err := io.ReadAll(io.LimitReader(object, MaxBytes+1)) // makes the request
	return data, s3Error(err)
}

func (b *s3Bucket) remove(ctx context.Context, name string) error {
	return s3Error(b.client.RemoveObject(ctx, b.name, name, minio.RemoveObjectOptions{}))
}

func (b *s3Bucket) list(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		options := minio.ListObjectsOptions{Prefix: prefix, Recursive: true}
		for o := range b.client.ListObjectsIter(ctx, b.name, options) {
			if !yield(Object{o.Key, o.LastModified}, o.Err) {
				return
			}
		}
	}
}

func s3Error(err error) error {
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return fs.ErrNotExist
	}
	return err
}
