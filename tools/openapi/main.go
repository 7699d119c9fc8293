// Command openapi completes goctl's OpenAPI document of shares.api. It replaces goctl's parameters,
// because some are wrong: goctl requires fields with default= and all headers, reads options=[x,y]
// as one value, and puts the query of a DELETE into a form. It adds sessions as a header or a
// cookie, and the errors of the catalogue. `make gen` runs it.
//
//	openapi shares.api docs/openapi.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zeromicro/go-zero/tools/goctl/api/spec"

	"shares/tools/apifile"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: openapi file.api file.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

type object = map[string]any

// service is the output of api/internal/openapi about the service's code.
type service struct {
	Cookie  string
	MaxFile int
	Errors  []struct {
		Status, Code             int
		Reason, Chinese, English string
	}
}

func run(from, file string) error {
	api, err := apifile.Parse(from)
	if err != nil {
		return err
	}
	printed := exec.Command("go", "run", "-trimpath", "./api/internal/openapi")
	printed.Dir, printed.Stderr = filepath.Dir(from), os.Stderr
	out, err := printed.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", printed, err)
	}
	var s service
	if err := json.Unmarshal(out, &s); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc object
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	if err := complete(doc, api, s); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if data, err = json.MarshalIndent(doc, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

var parameter = regexp.MustCompile(`:(\w+)`)

func complete(doc object, api *spec.ApiSpec, s service) error {
	for key := range doc {
		if strings.HasPrefix(key, "x-") { // such as x-date, the current day
			delete(doc, key)
		}
	}
	doc["schemes"] = []string{"http", "https"}
	doc["definitions"] = object{"Error": object{
		"type":     "object",
		"required": []string{"code", "msg"},
		"properties": object{
			"code": object{"type": "integer", "description": "错误码"},
			"msg":  object{"type": "string", "description": "可以直接展示给用户的文字（Accept-Language: en 时为英文）"},
		},
	}}
	doc["securityDefinitions"] = object{
		"bearer": object{"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer <sessionId>"},
		"cookie": object{"type": "apiKey", "in": "header", "name": "Cookie", "description": s.Cookie + "=<sessionId>"},
	}
	paths, _ := doc["paths"].(object)
	for _, g := range api.Service.Groups {
		for _, r := range g.Routes {
			methods, _ := paths[parameter.ReplaceAllString(r.Path, "{$1}")].(object)
			operation, ok := methods[r.Method].(object)
			if !ok {
				return fmt.Errorf("no operation %s %s", r.Method, r.Path)
			}
			if err := completeOperation(operation, api, g, r, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func completeOperation(operation object, api *spec.ApiSpec, g spec.Group, r spec.Route, s service) error {
	parameters, err := parametersOf(api, r)
	if err != nil {
		return err
	}
	if delete(operation, "parameters"); len(parameters) > 0 {
		operation["parameters"] = parameters
	}
	operation["consumes"] = []string{"application/json"}
	foreign := []string{"NOT_MULTIPART"} // errors that this operation never returns
	if apifile.Has(g, "Upload") {
		foreign = []string{"UNSUPPORTED_MEDIA", "MALFORMED_BODY"}
		operation["consumes"] = []string{"multipart/form-data"}
		operation["parameters"] = []object{{
			"name": "file", "in": "formData", "type": "file", "required": true,
			"description": fmt.Sprintf("PNG、JPEG 或 WebP 静态图片，最大 %d MiB，1200 万像素", s.MaxFile>>20),
		}}
	} else if r.Method == "get" {
		delete(operation, "consumes")
	}
	delete(operation, "schemes")
	if strings.Contains(g.GetAnnotation("middleware"), "Session") {
		operation["security"] = []object{{"bearer": []string{}}, {"cookie": []string{}}}
	}
	answer := object{"type": "object"}
	if r.ResponseType != nil {
		if answer, err = schema(api, r.ResponseType, nil); err != nil {
			return err
		}
	}
	responses := object{"200": object{"description": "", "schema": answer}}
	lines := map[string][]string{}
	for _, e := range s.Errors {
		if !slices.Contains(foreign, e.Reason) {
			status := strconv.Itoa(e.Status)
			lines[status] = append(lines[status], fmt.Sprintf("%d %s：%s / %s", e.Code, e.Reason, e.Chinese, e.English))
		}
	}
	for status, texts := range lines {
		responses[status] = object{
			"description": strings.Join(texts, "\n"),
			"schema":      object{"$ref": "#/definitions/Error"},
		}
	}
	operation["responses"] = responses
	return nil
}

// parametersOf returns the parameters of a request. The last one is the body.
func parametersOf(api *spec.ApiSpec, r spec.Route) ([]object, error) {
	var parameters []object
	if r.RequestType == nil {
		return parameters, nil
	}
	request, err := apifile.Struct(api, r.RequestType)
	if err != nil {
		return nil, err
	}
	fields, err := apifile.Fields(api, request)
	if err != nil {
		return nil, err
	}
	body := false
	for _, f := range fields {
		if f.In == "json" {
			body = true
			continue
		}
		p, err := property(api, f, nil)
		if err != nil {
			return nil, err
		}
		p["name"], p["in"], p["required"] = f.Name, f.In, !f.Omitted
		if f.In == "form" {
			p["in"] = "query"
		}
		if p["type"] == "array" {
			p["collectionFormat"] = "multi"
		}
		parameters = append(parameters, p)
	}
	if body {
		content, err := schema(api, request, nil)
		if err != nil {
			return nil, err
		}
		parameters = append(parameters, object{"in": "body", "name": "body", "required": true, "schema": content})
	}
	return parameters, nil
}

// property returns the schema of a field, with the rules of its tag.
func property(api *spec.ApiSpec, f apifile.Field, around []string) (object, error) {
	p, err := schema(api, f.Type, around)
	if err != nil {
		return nil, err
	}
	if text := strings.TrimSpace(strings.TrimPrefix(f.Comment, "//")); text != "" {
		p["description"] = text
	}
	if value, ok := f.Rules["default"]; ok && p["type"] != "array" {
		p["default"] = literal(value, p["type"])
	}
	if _, open := f.Rules["open"]; len(f.Options) > 0 && !open {
		var values []any
		for _, option := range f.Options {
			values = append(values, literal(option, p["type"]))
		}
		p["enum"] = values
	}
	if bounds, ok := f.Rules["range"]; ok {
		least, most, _ := strings.Cut(strings.Trim(bounds, "[]()"), ":")
		for _, bound := range []struct{ name, value, open string }{{"inimum", least, "("}, {"aximum", most, ")"}} {
			if bound.value != "" {
				p["m"+bound.name] = literal(bound.value, "number")
				if strings.Contains(bounds, bound.open) {
					p["exclusiveM"+bound.name] = true
				}
			}
		}
	}
	return p, nil
}

func literal(text string, kind any) any {
	if kind == "string" {
		return text
	}
	return json.RawMessage(text)
}

// schema returns the schema of a type. around are the structs that contain it.
func schema(api *spec.ApiSpec, t spec.Type, around []string) (object, error) {
	switch t := t.(type) {
	case spec.PointerType:
		return schema(api, t.Type, around)
	case spec.ArrayType:
		if name := t.Value.Name(); name == "byte" || name == "uint8" {
			return object{"type": "string", "format": "byte"}, nil
		}
		items, err := schema(api, t.Value, around)
		return object{"type": "array", "items": items}, err
	case spec.MapType:
		values, err := schema(api, t.Value, around)
		return object{"type": "object", "additionalProperties": values}, err
	case spec.DefineStruct:
		return structSchema(api, t, around)
	}
	switch name := t.Name(); {
	case name == "string":
		return object{"type": "string"}, nil
	case name == "bool":
		return object{"type": "boolean"}, nil
	case strings.HasPrefix(name, "float"):
		return object{"type": "number"}, nil
	case apifile.IsAny(t):
		return object{}, nil
	}
	return object{"type": "integer"}, nil
}

func structSchema(api *spec.ApiSpec, t spec.DefineStruct, around []string) (object, error) {
	s, err := apifile.Struct(api, t)
	if err != nil {
		return nil, err
	}
	fields, err := apifile.Fields(api, s)
	if err != nil || slices.Contains(around, s.RawName) {
		return object{"type": "object"}, err
	}
	result, properties, required := object{"type": "object"}, object{}, []string{}
	for _, f := range fields {
		if f.In != "json" {
			continue
		}
		if properties[f.Name], err = property(api, f, append(slices.Clone(around), s.RawName)); err != nil {
			return nil, err
		}
		if !f.Omitted {
			required = append(required, f.Name)
		}
	}
	if len(properties) > 0 {
		result["properties"] = properties
	}
	if len(required) > 0 {
		result["required"] = required
	}
	return result, nil
}
