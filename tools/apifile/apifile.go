// Package apifile reads .api files with goctl's parser, and the tags of their fields as go-zero's
// core/mapping does.
package apifile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/zeromicro/go-zero/tools/goctl/api/spec"
	"github.com/zeromicro/go-zero/tools/goctl/pkg/parser/api/parser"
)

// Parse reads a file. Its routes have complete paths. Its error names the file and line of the
// first part that the generated handlers do not support.
func Parse(file string) (*spec.ApiSpec, error) {
	api, err := parser.Parse(file, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	api.Service = api.Service.JoinPrefix()
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return api, checker{api, filepath.Base(file), strings.Split(string(text), "\n")}.check()
}

// Field is a field of a request or an answer.
type Field struct {
	spec.Member
	In      string            // "json", "path", "form" or "header"
	Name    string            // in the request or answer
	Rules   map[string]string // of the tag, such as "optional" without and "default" with a value
	Omitted bool              // may be absent
	Options []string
}

// tagRule matches a rule such as "optional", "default=x", "options=x|y", "options=[x,y]" and
// "range=[1:5)".
var tagRule = regexp.MustCompile(`([a-z]+)(?:=([\[(][^\])]*[\])]|[^,]*))?(?:,|$)`)

// Fields returns the fields of a struct, with the fields of embedded structs in their place.
func Fields(api *spec.ApiSpec, s spec.DefineStruct) ([]Field, error) {
	var fields []Field
	for _, m := range s.Members {
		if m.IsInline {
			embedded, err := Struct(api, m.Type)
			if err != nil {
				return nil, err
			}
			inner, err := Fields(api, embedded)
			if err != nil {
				return nil, err
			}
			fields = append(fields, inner...)
			continue
		}
		f, err := fieldOf(m)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", s.RawName, m.Name, err)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// Struct returns the declaration of a struct type or of the target of a pointer type.
func Struct(api *spec.ApiSpec, t spec.Type) (spec.DefineStruct, error) {
	if p, ok := t.(spec.PointerType); ok {
		t = p.Type
	}
	for _, declared := range api.Types {
		if s, ok := declared.(spec.DefineStruct); ok && s.RawName == t.Name() {
			return s, nil
		}
	}
	return spec.DefineStruct{}, fmt.Errorf("%s is not a struct of this file", t.Name())
}

func fieldOf(m spec.Member) (Field, error) {
	tags, err := spec.Parse(m.Tag)
	if err != nil {
		return Field{}, err
	}
	if len(tags.Tags()) != 1 {
		return Field{}, fmt.Errorf("want one tag of json, path, form and header: %s", m.Tag)
	}
	tag := tags.Tags()[0]
	if !slices.Contains([]string{"json", "path", "form", "header"}, tag.Key) {
		return Field{}, fmt.Errorf("want one tag of json, path, form and header: %s", m.Tag)
	}
	f := Field{Member: m, In: tag.Key, Name: tag.Name, Rules: map[string]string{}}
	for _, rule := range tagRule.FindAllStringSubmatch(strings.Join(tag.Options, ","), -1) {
		f.Rules[rule[1]] = rule[2]
	}
	for _, omits := range []string{"optional", "omitempty", "default"} {
		if _, ok := f.Rules[omits]; ok {
			f.Omitted = true
		}
	}
	if options := f.Rules["options"]; options != "" {
		separator := "|"
		if strings.HasPrefix(options, "[") {
			options, separator = strings.Trim(options, "[]"), ","
		}
		for option := range strings.SplitSeq(options, separator) {
			f.Options = append(f.Options, strings.TrimSpace(option))
		}
	}
	return f, nil
}

// Has reports whether the endpoints of g have a middleware. Endpoints with Session need a session.
func Has(g spec.Group, middleware string) bool {
	middlewares := strings.Split(strings.ReplaceAll(g.GetAnnotation("middleware"), " ", ""), ",")
	return slices.Contains(middlewares, middleware)
}
