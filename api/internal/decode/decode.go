// Package decode reads a request's JSON body strictly: one object of valid UTF-8 and nothing
// behind it, with no name twice. Names match whatever their case, so two that differ only in case
// are one name twice. A byte order mark before the object is skipped. Names that a type does not
// have are ignored, null counts as not sent, and a text field whose tag has the option "number"
// takes a JSON number too. Its errors carry a reason and never any part of the body.
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
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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

// Body returns the whole body of r, without the white space and the byte order mark around it, and
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
			return trim(body), nil
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
	return trim(body), nil
}

// trim removes white space and a byte order mark.
func trim(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff")))
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

// Object decodes one JSON object into the struct that dst points to.
func Object(body []byte, dst any) error {
	replaceSurrogates(body)
	if len(body) == 0 || body[0] != '{' || !utf8.Valid(body) {
		return reason.Error(reason.MalformedBody)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members, allowSurrogates); err != nil {
		return reason.Error(reason.MalformedBody)
	}
	byName := make(map[string]jsontext.Value, len(members))
	for name, value := range members {
		byName[strings.ToLower(name)] = value
	}
	if len(byName) < len(members) { // two names differ only in case
		return reason.Error(reason.MalformedBody)
	}
	fields := reflect.ValueOf(dst).Elem()
	for i := range fields.NumField() {
		name, options, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ",")
		value := byName[strings.ToLower(name)]
		if value == nil || value.Kind() == 'n' {
			continue
		}
		if value.Kind() == '0' && strings.HasPrefix(options, "number") {
			value = jsontext.Value(`"` + string(value) + `"`)
		}
		if err := json.Unmarshal(value, fields.Field(i).Addr().Interface(), allowSurrogates); err != nil {
			return wrongType(name, fields.Type().Field(i).Type)
		}
	}
	return nil
}

// allowSurrogates decodes the escape of half a surrogate pair, such as "\ud83d", as U+FFFD.
// JavaScript makes one when it cuts an emoji in two.
var allowSurrogates = jsontext.AllowInvalidUTF8(true)

// replaceSurrogates replaces each surrogate that was encoded as if it were a character with U+FFFD,
// in place: both have three bytes. Older JavaScript engines send half an emoji like that.
func replaceSurrogates(body []byte) {
	if utf8.Valid(body) {
		return
	}
	for i := 0; i+2 < len(body); i++ {
		if body[i] == 0xED && body[i+1] >= 0xA0 && body[i+1] <= 0xBF && body[i+2]&0xC0 == 0x80 {
			copy(body[i:], "\ufffd")
		}
	}
}

// wrongType returns the error of a field that cannot hold the value that was sent.
func wrongType(field string, t reflect.Type) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return reason.Field(field, "type_string")
	case reflect.Bool:
		return reason.Field(field, "type_boolean")
	}
	return reason.Field(field, "type_number")
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
