package decode

import (
	"cmp"
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

// fault returns the error for the first field of t that read refuses. mapping's errors contain
// values and have no fixed form, so fault calls read again with one field and one rule at a time.
func fault(t reflect.Type, tag string, read func(dst any) error) error {
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
			return wrongType(f.Type, f.name)
		case options != nil && refused(optional+","+options[0]):
			allowed := strings.FieldsFunc(options[1], func(r rune) bool { return strings.ContainsRune("[]|,", r) })
			return reason.Field(f.name, "one_of", "allowed", strings.Join(allowed, ", "))
		case bounds != nil && refused(optional+","+bounds[0]):
			return reason.Field(f.name, "range", "allowed", bounds[1])
		default:
			return reason.Field(f.name, "required")
		}
	}
	return reason.Error(reason.MalformedBody)
}

// wrongType returns the error for a value that does not fit the field's type, or for an invalid
// field inside it.
func wrongType(t reflect.Type, name string) error {
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
