package decode

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/zeromicro/go-zero/core/mapping"

	"shares/internal/reason"
)

var (
	optionsOf = regexp.MustCompile(`options=(\[[^\]]*\]|[^,]*)`)
	rangeOf   = regexp.MustCompile(`range=([\[(][^\])]*[\])])`)
)

// fault returns the error for the first field of t that read refuses. path is the prefix of the
// field's name; members are those of the JSON object that was sent. mapping's errors contain values
// and have no fixed form, so fault calls read again with one field and one rule at a time.
func fault(t reflect.Type, tag, path string, read func(dst any) error, members map[string]any) error {
	for _, f := range fields(t, tag) {
		refused := func(rules string) bool {
			one := f.StructField
			one.Tag = reflect.StructTag(tag + ":" + strconv.Quote(rules))
			return read(reflect.New(reflect.StructOf([]reflect.StructField{one})).Interface()) != nil
		}
		options, bounds := optionsOf.FindStringSubmatch(f.Tag.Get(tag)), rangeOf.FindStringSubmatch(f.Tag.Get(tag))
		switch optional := f.name + ",optional"; {
		case !refused(f.Tag.Get(tag)):
		case refused(optional):
			return wrongType(f.Type, path+f.name, members[f.name])
		case options != nil && refused(optional+","+options[0]):
			allowed := strings.FieldsFunc(options[1], func(r rune) bool { return strings.ContainsRune("[]|,", r) })
			return reason.Field(path+f.name, "one_of", "allowed", strings.Join(allowed, ", "))
		case bounds != nil && refused(optional+","+bounds[0]):
			return reason.Field(path+f.name, "range", "allowed", bounds[1])
		default:
			return reason.Field(path+f.name, "required")
		}
	}
	return reason.Error(reason.MalformedBody)
}

// wrongType returns the error for a value that does not fit the field's type.
func wrongType(t reflect.Type, name string, sent any) error {
	if err := inside(t, name, sent); err != nil {
		return err
	}
	switch t = mapping.Deref(t); t.Kind() {
	case reflect.String:
		return reason.Field(name, "type_string")
	case reflect.Bool:
		return reason.Field(name, "type_boolean")
	case reflect.Float32, reflect.Float64:
		return reason.Field(name, "type_number")
	}
	return reason.Field(name, "type", "allowed", cmp.Or(t.Name(), t.String()))
}

// inside returns the error for the first invalid field of the structs inside a value, or nil.
func inside(t reflect.Type, name string, sent any) error {
	t = mapping.Deref(t)
	switch sent := sent.(type) {
	case map[string]any:
		read := func(dst any) error { return mapping.UnmarshalJsonMap(sent, dst) }
		if t.Kind() == reflect.Struct && read(reflect.New(t).Interface()) != nil {
			return fault(t, "json", name+".", read, sent)
		}
	case []any:
		for i := 0; i < len(sent) && t.Kind() == reflect.Slice; i++ {
			if err := inside(t.Elem(), fmt.Sprintf("%s[%d]", name, i), sent[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
