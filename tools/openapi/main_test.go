package main

import (
	"encoding/json"
	"strings"
	"testing"

	"shares/tools/apifile"
)

// openapi corrects goctl's errors: required for default= and headers, options=[x,y], and queries of
// other methods than GET.
func TestComplete(t *testing.T) {
	api, err := apifile.Parse("../clientgen/testdata/every_form.api")
	if err != nil {
		t.Fatal(err)
	}
	paths := object{}
	for _, r := range api.Service.Routes() {
		path := parameter.ReplaceAllString(r.Path, "{$1}")
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[r.Method] = object{}
	}
	doc := object{"x-date": "today", "paths": paths}
	if err := complete(doc, api, service{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, method, want string }{
		{"/v1/door.open", "post", `"required":["number","on","list","pairs","inner","inners","by","any","bytes","x-dashed","key"]`},
		{"/v1/door.open", "post", `"key":{"enum":["a","b"],"type":"string"}`},
		{"/v1/door.open", "post", `"open":{"type":"string"}`},
		{"/v1/door.open", "post", `"size":{"default":1,"enum":[1,2],"type":"integer"}`},
		{"/v1/door.open", "post", `"limit":{"exclusiveMaximum":true,"maximum":10,"minimum":1,"type":"integer"}`},
		{"/v1/door.open", "post", `"by":{"additionalProperties":{"items":{"properties":{"name":{"type":"string"}},"required":["name"],"type":"object"},"type":"array"},"type":"object"}`},
		{"/v1/door.open", "post", `"bytes":{"format":"byte","type":"string"}`},
		{"/v1/door.open", "post", `"required":["any","inner"]`}, // in the answer
		{"/v2/notes/{id}", "get", `{"in":"header","name":"X-Trace","required":false,"type":"string"}`},
		{"/v2/notes/{id}", "get", `{"in":"path","name":"id","required":true,"type":"integer"}`},
		{"/v2/notes/{id}", "get", `{"default":1,"in":"query","name":"page","required":false,"type":"integer"}`},
		{"/v2/notes/{id}", "delete", `{"collectionFormat":"multi","in":"query","items":{"type":"string"},"name":"names","required":false,"type":"array"}`},
		{"/v2/notes/{id}", "put", `"in":"body","name":"body","required":true,"schema":{"properties":{"name":{"type":"string"}},"required":["name"],"type":"object"}`},
		{"/v2/notes/{id}", "put", `"security":[{"bearer":[]},{"cookie":[]}]`},
		{"/file.put", "post", `"in":"formData","name":"file"`},
	} {
		operation, err := json.Marshal(paths[tt.path].(object)[tt.method])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(operation), tt.want) {
			t.Errorf("%s %s has no %s:\n%s", tt.method, tt.path, tt.want, operation)
		}
	}
	for path, without := range map[string]string{"/v1/no_request": "security", "/v2/ping": "consumes"} {
		operation, err := json.Marshal(paths[path])
		if err != nil || strings.Contains(string(operation), without) {
			t.Errorf("%s has %s: %s, %v", path, without, operation, err)
		}
	}
	if doc["x-date"] != nil {
		t.Error("got the current day in the document, want none")
	}
}
