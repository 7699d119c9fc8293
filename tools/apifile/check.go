package apifile

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zeromicro/go-zero/core/mapping"
	"github.com/zeromicro/go-zero/tools/goctl/api/spec"
)

// checker finds unsupported parts: parts of requests that core/mapping would refuse or ignore, and
// names that the strict JSON rules cannot distinguish.
type checker struct {
	api   *spec.ApiSpec
	file  string
	lines []string
}

// at returns err with the file and the line where the patterns match one after the other.
func (c checker) at(err error, patterns ...string) error {
	line := 0
	for _, pattern := range patterns {
		expression := regexp.MustCompile(`^\s*` + pattern)
		next := slices.IndexFunc(c.lines[line:], expression.MatchString)
		if next < 0 {
			return fmt.Errorf("%s: %w", c.file, err) // an imported file
		}
		line += next
	}
	return fmt.Errorf("%s:%d: %w", c.file, line+1, err)
}

func (c checker) check() error {
	for _, g := range c.api.Service.Groups {
		for _, r := range g.Routes {
			handler := `@handler\s+` + strings.TrimSuffix(r.Handler, "Handler") + `\b`
			fields, err := c.request(r)
			if err == nil && r.ResponseType != nil {
				err = c.answer(r.ResponseType, nil)
			}
			if err != nil {
				return err
			}
			if err := route(g, r, fields); err != nil {
				return c.at(fmt.Errorf("%s %s: %w", strings.ToUpper(r.Method), r.Path, err), handler, r.Method+`\s`)
			}
		}
	}
	return nil
}

var parameter = regexp.MustCompile(`/:(\w+)`)

// route checks that a route and the fields of its request are consistent.
func route(g spec.Group, r spec.Route, fields []Field) error {
	if !slices.Contains([]string{"get", "post", "put", "delete", "patch"}, r.Method) {
		return errors.New("the methods are GET, POST, PUT, DELETE and PATCH")
	}
	if r.RequestType != nil && Has(g, "Upload") {
		return errors.New("Upload reads the body: the endpoint has no request type")
	}
	parameters := map[string]bool{}
	for _, m := range parameter.FindAllStringSubmatch(r.Path, -1) {
		parameters[m[1]] = true
	}
	for _, f := range fields {
		switch {
		case f.In == "json" && r.Method == "get":
			return fmt.Errorf("a GET request has no body: use the tag form instead of json for %s", f.Member.Name)
		case f.In == "path" && !parameters[f.Name]:
			return fmt.Errorf("the path has no parameter :%s", f.Name)
		case f.In == "path":
			delete(parameters, f.Name)
		}
	}
	for name := range parameters {
		return fmt.Errorf("the request has no field `path:%q`", name)
	}
	return nil
}

func (c checker) request(r spec.Route) ([]Field, error) {
	if r.RequestType == nil {
		return nil, nil
	}
	s, err := Struct(c.api, r.RequestType)
	if err != nil {
		return nil, err
	}
	if err := c.fields(s, false, nil); err != nil {
		return nil, err
	}
	return Fields(c.api, s)
}

// fields checks the fields of a request, or of a nested struct, which may have only JSON tags.
func (c checker) fields(s spec.DefineStruct, nested bool, around []string) error {
	declared := func(member string) []string { return []string{`(type\s+)?` + s.RawName + `\b.*\{`, member + `\b`} }
	for _, m := range s.Members {
		if _, err := fieldOf(m); err != nil && !m.IsInline {
			return c.at(fmt.Errorf("%s.%s: %w", s.RawName, m.Name, err), declared(m.Name)...)
		}
	}
	fields, err := Fields(c.api, s)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, f := range fields {
		err := f.check(nested)
		if name := strings.ToLower(f.Name); err == nil && f.In == "json" {
			if names[name] {
				err = errors.New("another field has the same name (case-insensitively)")
			}
			names[name] = true
		}
		if err == nil {
			err = c.jsonType(f.Type, append(slices.Clone(around), s.RawName))
		}
		if err != nil {
			if strings.HasPrefix(err.Error(), c.file) {
				return err // of a nested field
			}
			return c.at(fmt.Errorf("%s.%s: %w", s.RawName, f.Member.Name, err), declared(f.Member.Name)...)
		}
	}
	return nil
}

// goTypes are the simple types that core/mapping supports.
var goTypes = map[string]reflect.Type{
	"string": reflect.TypeFor[string](), "bool": reflect.TypeFor[bool](), "byte": reflect.TypeFor[byte](),
	"int": reflect.TypeFor[int](), "int8": reflect.TypeFor[int8](), "int16": reflect.TypeFor[int16](),
	"int32": reflect.TypeFor[int32](), "int64": reflect.TypeFor[int64](),
	"uint": reflect.TypeFor[uint](), "uint8": reflect.TypeFor[uint8](), "uint16": reflect.TypeFor[uint16](),
	"uint32": reflect.TypeFor[uint32](), "uint64": reflect.TypeFor[uint64](),
	"float32": reflect.TypeFor[float32](), "float64": reflect.TypeFor[float64](),
}

// jsonType checks that core/mapping supports a type. around are the structs that contain it.
func (c checker) jsonType(t spec.Type, around []string) error {
	switch t := t.(type) {
	case spec.PrimitiveType:
		if goTypes[t.RawName] != nil {
			return nil
		}
	case spec.PointerType:
		if _, ok := t.Type.(spec.DefineStruct); ok || goTypes[t.Type.Name()] != nil {
			return c.jsonType(t.Type, around)
		}
	case spec.ArrayType:
		if strings.HasPrefix(t.RawName, "[]") {
			return c.jsonType(t.Value, around)
		}
	case spec.MapType:
		pointer, ok := t.Value.(spec.PointerType)
		switch {
		case t.Key != "string" || ok && goTypes[pointer.Type.Name()] != nil:
		case IsAny(t.Value):
			return nil
		default:
			return c.jsonType(t.Value, around)
		}
	case spec.DefineStruct:
		if slices.Contains(around, t.RawName) {
			return errors.New("a request cannot contain itself")
		}
		s, err := Struct(c.api, t)
		if err != nil {
			return err
		}
		return c.fields(s, true, around)
	}
	return fmt.Errorf("a request cannot contain the type %s", t.Name())
}

// IsAny reports whether a type accepts every value.
func IsAny(t spec.Type) bool { return t.Name() == "interface{}" || t.Name() == "any" }

func (f Field) check(nested bool) error {
	base := f.Type
	if p, ok := base.(spec.PointerType); ok {
		base = p.Type
	}
	simple := goTypes[base.Name()]
	list, isList := f.Type.(spec.ArrayType)
	isList = isList && goTypes[list.Value.Name()] != nil
	_, ranged := f.Rules["range"]
	switch {
	case f.Name == "" || f.Name == "-" || strings.Contains(f.Name, ".") && f.In != "form":
		return fmt.Errorf("the %s tag needs a name, without dots", f.In)
	case nested && f.In != "json":
		return fmt.Errorf("a struct in a request may have only json tags, not %s", f.In)
	case f.In != "json" && simple == nil && !(f.In == "form" && isList):
		return fmt.Errorf("the tag %s does not support the type %s", f.In, f.Type.Name())
	case (len(f.Options) > 0 || ranged) && simple == nil:
		return errors.New("options= and range= have no effect on this type")
	case ranged && (base.Name() == "string" || base.Name() == "bool"):
		return errors.New("range= is for numbers")
	}
	for _, rule := range slices.Sorted(maps.Keys(f.Rules)) {
		value := f.Rules[rule]
		switch {
		case rule == "optional" && value == "", rule == "default", rule == "options", rule == "range", rule == "example":
		case rule == "number" && f.In == "json" && base.Name() == "string":
		case rule == "open" && f.In == "json" && f.Type.Name() == "string" && !nested && f.Omitted:
		default:
			return fmt.Errorf("%s is not supported in a request", rule)
		}
	}
	return f.probe(simple, list, isList)
}

// probe makes core/mapping read a request without the field. That fails for an invalid rule or a
// default of another type.
func (f Field) probe(simple reflect.Type, list spec.ArrayType, isList bool) error {
	_, hasDefault := f.Rules["default"]
	switch {
	case isList:
		simple = reflect.SliceOf(goTypes[list.Value.Name()])
	case simple == nil && hasDefault:
		return errors.New("default= is for simple values and lists of them")
	case simple == nil:
		return nil
	}
	tag := reflect.StructTag(strings.Trim(f.Tag, "`")).Get(f.In) + ",optional"
	request := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "F", Type: simple, Tag: reflect.StructTag("json:" + strconv.Quote(tag)),
	}})).Interface()
	if err := mapping.UnmarshalJsonMap(map[string]any{}, request); err != nil {
		return fmt.Errorf("the tag %s: %w", f.Tag, err)
	}
	return nil
}

// answer checks that the fields of an answer have JSON tags. around are the structs that contain t.
func (c checker) answer(t spec.Type, around []string) error {
	switch t := t.(type) {
	case spec.PointerType:
		return c.answer(t.Type, around)
	case spec.ArrayType:
		return c.answer(t.Value, around)
	case spec.MapType:
		return c.answer(t.Value, around)
	case spec.DefineStruct:
		s, err := Struct(c.api, t)
		if err != nil || slices.Contains(around, s.RawName) {
			return err
		}
		fields, err := Fields(c.api, s)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if f.In != "json" {
				return c.at(fmt.Errorf("%s.%s: an answer may have only json tags, not %s", s.RawName, f.Member.Name, f.In),
					`(type\s+)?`+s.RawName+`\b.*\{`, f.Member.Name+`\b`)
			}
			if err := c.answer(f.Type, append(slices.Clone(around), s.RawName)); err != nil {
				return err
			}
		}
	}
	return nil
}
