// Package upload reads the one file of a multipart request. The Upload middleware calls Read before the endpoint, whose logic asks for the
// file with FromContext, and so sees no http type.
package upload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"

	"shares/internal/reason"
)

const (
	// MaxFile is the largest file taken, in bytes.
	MaxFile = 2 << 20
	// MaxBody has room for the file, its header, and the few other fields that clients send along.
	MaxBody = MaxFile + 64<<10
	// field is the file's name in the form.
	field = "file"
)

// Read returns the file of the form in r's body; other fields are ignored. Its errors have the reasons NOT_MULTIPART, BODY_TOO_LARGE and
// INVALID_FIELD.
func Read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return nil, reason.Error(reason.NotMultipart)
	}
	if r.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	form := multipart.NewReader(http.MaxBytesReader(w, r.Body, MaxBody), params["boundary"])
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return nil, reason.Field(field, "required")
		}
		if err != nil {
			return nil, broken(err)
		}
		if part.FormName() != field {
			continue
		}
		// The edge has reserved the length that was announced.
		var file bytes.Buffer
		file.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
		_, err = file.ReadFrom(io.LimitReader(part, MaxFile+1))
		switch {
		case err != nil:
			return nil, broken(err)
		case file.Len() > MaxFile:
			return nil, tooLarge()
		case file.Len() == 0:
			return nil, reason.Field(field, "required")
		}
		return file.Bytes(), nil
	}
}

// broken is what the client gets for a form that ended early or is none.
func broken(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	return reason.Field(field, "incomplete")
}

func tooLarge() error { return reason.Error(reason.BodyTooLarge, "max", strconv.Itoa(MaxFile)) }

type contextKey struct{}

// NewContext returns ctx with a file in it.
func NewContext(ctx context.Context, file []byte) context.Context {
	return context.WithValue(ctx, contextKey{}, file)
}

// FromContext returns the request's file, nil outside of an upload. It must not be changed.
func FromContext(ctx context.Context) []byte {
	file, _ := ctx.Value(contextKey{}).([]byte)
	return file
}
