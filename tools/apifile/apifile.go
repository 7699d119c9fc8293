// Package apifile reads .api files with goctl's parser, and the tags of their fields as go-zero's
// core/mapping does.
package apifile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/zeromicro/go-zero/tools/goctl/api/spec"
	"github.com/zeromicro/go-zero/tools/goctl/pkg/parser/api/parser"
)

// Parse reads a file. Routes have their whole paths.
func Parse(file string) (*spec.ApiSpec, error) {
	api, err := parser.Parse(file, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	api.Service = api.Service.JoinPrefix()
	return api, nil
}

// Field is a field of a request or an answer.
type Field struct {
	spec.Member
	In      string // "json", "path", "form" or "header"
	Name    string // there
	Omitted bool   // may be left out of a request: optional, or with a default
	Options []string
}

// tagOption is one of "optional", "default=x", "options=x|y", "options=[x,y]", "range=[1:5)".
var tagOption = regexp.MustCompile(`([a-z]+)(?:=(\[[^\]]*\]|[^,]*))?(?:,|$)`)

// Fields returns the fields of a struct and, in their place, those of the structs that it embeds.
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

// Struct returns the declaration of a struct type, or of what a pointer to one points to.
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
	f := Field{Member: m, In: tag.Key, Name: tag.Name}
	for _, option := range tagOption.FindAllStringSubmatch(strings.Join(tag.Options, ","), -1) {
		switch name, value := option[1], option[2]; name {
		case "optional", "omitempty", "default":
			f.Omitted = true
		case "options":
			separator := "|"
			if strings.HasPrefix(value, "[") {
				value, separator = strings.Trim(value, "[]"), ","
			}
			for _, v := range strings.Split(value, separator) {
				f.Options = append(f.Options, strings.TrimSpace(v))
			}
		}
	}
	return f, nil
}

// Served returns an error that names the first part of api that the generated handlers do not
// serve. They read a JSON body, know whether a field is optional, and nothing else of its tag.
func Served(api *spec.ApiSpec) error {
	for _, r := range api.Service.Routes() {
		if r.Method != "post" {
			return fmt.Errorf("%s %s: only POST is served", strings.ToUpper(r.Method), r.Path)
		}
		if r.RequestType == nil {
			continue
		}
		request, err := Struct(api, r.RequestType)
		if err != nil {
			return err
		}
		fields, err := Fields(api, request)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if f.In != "json" {
				return fmt.Errorf("%s.%s: only json tags are served, not %s", request.RawName, f.Member.Name, f.In)
			}
			if option := unserved.FindString(f.Tag); option != "" {
				return fmt.Errorf("%s.%s: %s is not served: check the value in rpc/internal/profile",
					request.RawName, f.Member.Name, strings.Trim(option, ",="))
			}
		}
	}
	return nil
}

var unserved = regexp.MustCompile(`,(default|options|range)=`)
