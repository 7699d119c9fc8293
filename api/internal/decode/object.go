package decode

import (
	stdjson "encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeromicro/go-zero/core/mapping"

	"shares/internal/reason"
)

// Object decodes one JSON object into the struct that dst points to.
func Object(body []byte, dst any) error {
	replaceSurrogates(body)
	var sent map[string]any
	if !utf8.Valid(body) || json.Unmarshal(body, &sent, asMapping) != nil {
		return reason.Error(reason.MalformedBody)
	}
	members := make(map[string]any, len(sent))
	for name, v := range sent {
		members[strings.ToLower(name)] = v
	}
	if len(members) < len(sent) || sent == nil { // names that differ only in case, or null
		return reason.Error(reason.MalformedBody)
	}
	v := reflect.ValueOf(dst).Elem()
	for _, f := range fields(v.Type(), "json") {
		member := members[f.lower]
		delete(members, f.lower)
		if number, ok := member.(stdjson.Number); ok && slices.Contains(f.options, "number") {
			member = number.String()
		}
		if text, ok := member.(string); ok && slices.Contains(f.options, "open") {
			v.FieldByName(f.Name).SetString(text)
		} else if member != nil {
			members[f.name] = member
		}
	}
	read := func(v any) error { return mapping.UnmarshalJsonMap(members, v) }
	if read(dst) != nil {
		return fault(v.Type(), "json", read)
	}
	return nil
}

// asMapping decodes numbers to the type that mapping expects. It decodes half a surrogate pair,
// such as "\ud83d", to U+FFFD: JavaScript sends it when it cuts an emoji in two.
var asMapping = json.JoinOptions(jsontext.AllowInvalidUTF8(true), json.WithUnmarshalers(
	json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
		if d.PeekKind() != '0' {
			return errors.ErrUnsupported
		}
		number, err := d.ReadValue()
		*v = stdjson.Number(number)
		return err
	})))

// replaceSurrogates replaces surrogates encoded as UTF-8 with U+FFFD, in place: both have three
// bytes. Older JavaScript engines send half an emoji in this form.
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

// field is a struct field with its name in one part of the request.
type field struct {
	reflect.StructField
	name    string
	lower   string   // the name in lower case
	options []string // of the tag, split at commas
}

// typeAndTag does not embed reflect.Type: the promoted Method would stop the linker from dropping
// unused methods, for a binary of 47 MB instead of 37 MB.
type typeAndTag struct {
	structure reflect.Type
	tag       string
}

var known sync.Map // fields by typeAndTag

// fields returns the fields of a struct and its embedded structs that have a tag.
func fields(t reflect.Type, tag string) []field {
	if tagged, ok := known.Load(typeAndTag{t, tag}); ok {
		return tagged.([]field)
	}
	var tagged []field
	for i := range t.NumField() {
		f := t.Field(i)
		value, ok := f.Tag.Lookup(tag)
		if f.Anonymous {
			tagged = append(tagged, fields(mapping.Deref(f.Type), tag)...)
		} else if options := strings.Split(value, ","); ok {
			tagged = append(tagged, field{f, options[0], strings.ToLower(options[0]), options[1:]})
		}
	}
	known.Store(typeAndTag{t, tag}, tagged)
	return tagged
}

func has(t reflect.Type, tag string) bool { return len(fields(t, tag)) > 0 }
