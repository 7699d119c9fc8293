// Package decode reads a request's JSON body strictly: names by their exact
// case, no name twice, valid UTF-8, one object and nothing behind it. Names
// that a type does not have are ignored. Its errors carry a reason and never
// any part of the body.
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

	"github.com/go-json-experiment/json"

	"shares/internal/reason"
)

// MaxBody is the largest body taken, in bytes, chunked or not.
const MaxBody = 64 << 10

// JSON decodes the body of r into dst. Where dst has no fields, a body is not
// needed; one that is there must be an object all the same. The errors'
// reasons are UNSUPPORTED_MEDIA, BODY_TOO_LARGE, MALFORMED_BODY and, naming
// the field, INVALID_FIELD.
func JSON[T any](w http.ResponseWriter, r *http.Request, dst *T) error {
	body, err := Body(w, r)
	if err != nil {
		return err
	}
	if reflect.TypeFor[T]().NumField() == 0 && (len(body) == 0 || string(body) == "{}") {
		return nil
	}
	return Object(body, dst)
}

// Body reads the whole body of r, without the white space around it, and
// leaves it to be read once more.
func Body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, reason.Error(reason.UnsupportedMedia)
	}
	if r.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	if received, ok := r.Body.(whole); ok {
		if body, err := received.Whole(); err == nil && len(body) <= MaxBody {
			return bytes.TrimSpace(body), nil
		}
	}
	body, err := read(w, r)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge()
		}
		// The client broke off, or its chunks are not well formed.
		return nil, reason.Error(reason.MalformedBody)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return bytes.TrimSpace(body), nil
}

// whole is a body that has been read, with the error that ended it: the edge
// does that. It is still there to be read.
type whole interface{ Whole() ([]byte, error) }

func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, MaxBody)
	if r.ContentLength < 0 {
		return io.ReadAll(limited)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(limited, body)
	return body, err
}

func tooLarge() error {
	return reason.Error(reason.BodyTooLarge, "max", strconv.Itoa(MaxBody))
}

// Object decodes one JSON object.
func Object(body []byte, dst any) error {
	if len(body) == 0 || body[0] != '{' {
		return reason.Error(reason.MalformedBody)
	}
	err := json.Unmarshal(body, dst)
	if err == nil {
		return nil
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		if field := strings.TrimPrefix(string(semantic.JSONPointer), "/"); field != "" && !strings.Contains(field, "/") {
			return reason.Field(field, "type")
		}
	}
	return reason.Error(reason.MalformedBody)
}

// isJSON reports whether a body of that content type is read as JSON; one
// without a type is.
func isJSON(contentType string) bool {
	switch contentType {
	case "", "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8":
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "text/json" ||
		strings.HasSuffix(media, "+json") && !strings.HasPrefix(media, "multipart/"))
}
