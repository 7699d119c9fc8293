// Package decode reads a request into the type that shares.api gives it: its path, form, header and
// JSON fields. go-zero's core/mapping decides which fields must be sent, and applies default=,
// options= and range=.
//
// A JSON body is read strictly: one object of valid UTF-8 and nothing behind it, with no name twice.
// Names match whatever their case, so two that differ only in case are one name twice. A byte order
// mark before the object is skipped. Names that a type does not have are ignored, null counts as not
// sent, and a text field whose tag has the option "number" takes a JSON number too. A text field
// with the option "open" takes values outside of its options=, for the logic to judge.
//
// The errors carry a reason and never any part of the request.
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

// MaxBody is the largest body taken, in bytes, chunked or not.
const MaxBody = 64 << 10

// Request reads r into dst. A type without JSON fields needs no body; one that is there must be an
// object all the same, or may be a form where the type has form fields. The errors' reasons are
// UNSUPPORTED_MEDIA, BODY_TOO_LARGE, MALFORMED_BODY and, naming the field, INVALID_FIELD.
func Request[T any](w http.ResponseWriter, r *http.Request, dst *T) error {
	t := reflect.TypeFor[T]()
	inForm := has(t, "form") && !has(t, "json") && isForm(r.Header.Get("Content-Type"))
	if inForm {
		if _, err := whole(w, r); err != nil { // httpx has other limits
			return err
		}
	}
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
			return fault(t, part.tag, "", parse, nil)
		}
	}
	if inForm {
		return nil
	}
	body, err := Body(w, r)
	if err != nil || !has(t, "json") && (len(body) == 0 || string(body) == "{}") {
		return err
	}
	return Object(body, dst)
}

// Body returns the whole JSON body of r, without the white space and the byte order mark around it,
// and leaves it to be read once more.
func Body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength != 0 && !isJSON(r.Header.Get("Content-Type")) {
		return nil, reason.Error(reason.UnsupportedMedia)
	}
	body, err := whole(w, r)
	return trim(body), err
}

// trim removes white space and a byte order mark.
func trim(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff")))
}

// whole returns the whole body of r and leaves it to be read once more.
func whole(w http.ResponseWriter, r *http.Request) ([]byte, error) {
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
		// The client broke off, or its chunks are not well formed.
		return nil, reason.Error(reason.MalformedBody)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return body, nil
}

// received is a body that the edge has read. It is still there to be read.
type received interface{ Whole() []byte }

func tooLarge() error {
	return reason.Error(reason.BodyTooLarge, "max", strconv.Itoa(MaxBody))
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

func isForm(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return media == "application/x-www-form-urlencoded" || media == "multipart/form-data"
}
