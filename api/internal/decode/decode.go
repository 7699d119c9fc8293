// Package decode decodes a request into its type from shares.api: path, form, header and JSON
// fields. go-zero's core/mapping checks required fields and applies default=, options= and range=.
//
// A JSON body must be one object of valid UTF-8, without duplicate names and without trailing data.
// Names match in any case, so names that differ only in case are duplicates. A byte order mark
// before the object is skipped, unknown names are ignored, and null means not sent. Objects inside
// it follow mapping's rules instead: exact names, and no null. A string field with the tag option
// "number" accepts JSON numbers. A string field with the option "open" accepts values outside its
// options=, because the logic checks them.
//
// Errors carry a reason and no part of the request.
package decode

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/zeromicro/go-zero/rest/httpx"

	"shares/internal/reason"
)

// MaxBody is the size limit of a body, in bytes, chunked or not.
const MaxBody = 64 << 10

// Request decodes r into dst. For a type without JSON fields the body may be empty or a JSON object.
// Errors have the reasons UNSUPPORTED_MEDIA, BODY_TOO_LARGE, MALFORMED_BODY and, with the field's
// name, INVALID_FIELD.
func Request[T any](w http.ResponseWriter, r *http.Request, dst *T) error {
	t := reflect.TypeFor[T]()
	for _, part := range [...]struct {
		tag   string
		parse func(*http.Request, any) error
	}{{"path", httpx.ParsePath}, {"form", httpx.ParseForm}, {"header", httpx.ParseHeaders}} {
		if !has(t, part.tag) {
			continue
		}
		parse := func(v any) error { return part.parse(r, v) }
		if parse(&struct{}{}) != nil {
			return reason.Field(part.tag, "encoding")
		}
		if parse(dst) != nil {
			return fault(t, part.tag, parse)
		}
	}
	body, err := Body(w, r)
	if err != nil || !has(t, "json") && (len(body) == 0 || string(body) == "{}") {
		return err
	}
	return Object(body, dst)
}

// Body returns the JSON body of r without surrounding white space and byte order mark. The body can
// be read again.
func Body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength != 0 && !isJSON(r.Header.Get("Content-Type")) {
		return nil, reason.Error(reason.UnsupportedMedia)
	}
	body, err := Raw(w, r)
	return trim(body), err
}

// trim removes white space and a byte order mark.
func trim(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff")))
}

// Raw returns the body of r, of any content type. The body can be read again.
func Raw(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	if received, ok := r.Body.(received); ok && len(received.Whole()) <= MaxBody {
		return received.Whole(), nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge()
		}
		// The client disconnected, or sent malformed chunks.
		return nil, reason.Error(reason.MalformedBody)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return body, nil
}

// received is a body that the edge has already read into memory.
type received interface{ Whole() []byte }

func tooLarge() error {
	return reason.Error(reason.BodyTooLarge, "max", strconv.Itoa(MaxBody))
}

// isJSON reports whether a body of that content type is JSON. An empty type counts as JSON.
func isJSON(contentType string) bool {
	switch contentType {
	case "", "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8":
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "text/json" ||
		strings.HasSuffix(media, "+json") && !strings.HasPrefix(media, "multipart/"))
}
