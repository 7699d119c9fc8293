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
	v := reflect.ValueOf(dst).Elem()
	members, ok := object(sent, v.Type())
	if !ok || sent == nil { // null
		return reason.Error(reason.MalformedBody)
	}
	for _, f := range fields(v.Type(), "json") {
		if text, ok := members[f.name].(string); ok && slices.Contains(f.options, "open") {
			v.FieldByName(f.Name).SetString(text)
			delete(members, f.name)
		}
	}
	read := func(v any) error { return mapping.UnmarshalJsonMap(members, v) }
	if read(dst) != nil {
		return fault(v.Type(), "json", "", read, members)
	}
	return nil
}

// object renames the members of an object to the names of t's fields and drops null fields. It
// returns false if two names differ only in case.
func object(sent map[string]any, t reflect.Type) (map[string]any, bool) {
	members := make(map[string]any, len(sent))
	for name, v := range sent {
		members[strings.ToLower(name)] = v
	}
	if len(members) < len(sent) {
		return nil, false
	}
	for _, f := range fields(t, "json") {
		v, ok := value(members[f.lower], f.Type)
		if !ok {
			return nil, false
		}
		if number, ok := v.(stdjson.Number); ok && slices.Contains(f.options, "number") {
			v = number.String()
		}
		delete(members, f.lower)
		if v != nil {
			members[f.name] = v
		}
	}
	return members, true
}

// value applies object to all objects inside v, which is decoded into a t.
func value(v any, t reflect.Type) (_ any, ok bool) {
	t = mapping.Deref(t)
	members, _ := v.(map[string]any)
	elements, _ := v.([]any)
	switch {
	case t.Kind() == reflect.Struct && members != nil:
		return object(members, t)
	case t.Kind() == reflect.Map && t.Elem().Kind() != reflect.Interface:
		for name, member := range members {
			if member == nil {
				delete(members, name)
			} else if members[name], ok = value(member, t.Elem()); !ok {
				return nil, false
			}
		}
	case t.Kind() == reflect.Slice:
		for i, element := range elements {
			if elements[i], ok = value(element, t.Elem()); !ok {
				return nil, false
			}
		}
	}
	return v, true
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
