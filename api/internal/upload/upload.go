// Package upload reads the one file of a multipart request.
package upload

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strconv"

	"shares/internal/reason"
)

const (
	// MaxFile is the size limit of a file, in bytes.
	MaxFile = 2 << 20
	// MaxBody is the size limit of the body: the file, its header and other fields, in bytes.
	MaxBody = MaxFile + 64<<10
	// field is the form field of the file.
	field = "file"
)

// Read returns the file of the form in r's body, and ignores other fields. Errors have the reasons
// NOT_MULTIPART, BODY_TOO_LARGE and INVALID_FIELD.
func Read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	boundary := boundaryOf(r.Header.Get("Content-Type"))
	if boundary == "" {
		return nil, reason.Error(reason.NotMultipart)
	}
	if r.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	form := multipart.NewReader(http.MaxBytesReader(w, r.Body, MaxBody), boundary)
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return nil, reason.Field(field, "required")
		}
		if err != nil {
			return nil, broken(err)
		}
		if nameOf(part) != field {
			continue
		}
		// The edge has reserved memory for Content-Length.
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

// boundaryOf returns the boundary of a multipart/form-data type, "" for any other type. It accepts
// unquoted boundaries with "=", "/" or ":", which some clients send.
func boundaryOf(contentType string) string {
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil {
		if media != "multipart/form-data" {
			return ""
		}
		return params["boundary"]
	}
	if found := unquotedBoundary.FindStringSubmatch(contentType); found != nil {
		return found[1]
	}
	return ""
}

var (
	unquotedBoundary = regexp.MustCompile(
		`(?i)^\s*multipart/form-data\s*;(?:.*;)?\s*boundary=([0-9a-z'()+_,./:=?-]{1,70})\s*(?:;|$)`)
	// lenientName finds a part's name if the file name beside it has invalid syntax.
	lenientName = regexp.MustCompile(`(?i)^\s*form-data\s*;(?:.*;)?\s*name="?([a-z]+)"?\s*(?:;|$)`)
)

// nameOf returns the field name of a part. It accepts unquoted file names and quotes inside file
// names, which some clients send.
func nameOf(part *multipart.Part) string {
	if name := part.FormName(); name != "" {
		return name
	}
	if found := lenientName.FindStringSubmatch(part.Header.Get("Content-Disposition")); found != nil {
		return found[1]
	}
	return ""
}

// broken returns the error for a form that is truncated or malformed.
func broken(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	return reason.Field(field, "incomplete")
}

func tooLarge() error { return reason.Error(reason.BodyTooLarge, "max", strconv.Itoa(MaxFile)) }
