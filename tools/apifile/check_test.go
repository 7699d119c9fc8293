package apifile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An unsupported contract is refused with the place of the error.
func TestParseRefuses(t *testing.T) {
	const service = "\nservice s {\n\t@handler H\n\tpost /h (Req) returns (Resp)\n}\n"
	field := func(field string) string { return "type (\n\tReq {\n\t\t" + field + "\n\t}\n\tResp {}\n)" + service }
	route := func(line string) string {
		return "type (\n\tReq {\n\t\tId string `path:\"id\"`\n\t}\n\tBody {\n\t\tA string `json:\"a\"`\n\t}\n\tResp {}\n)\nservice s {\n\t@handler H\n\t" + line + "\n}\n"
	}
	for _, tt := range []struct{ name, api, want string }{
		{"syntax", "nonsense", "syntax"},
		{"GET with a body", route("get /h (Body) returns (Resp)"), "x.api:14: GET /h: a GET request has no body: use the tag form instead of json for A"},
		{"HEAD", route("head /h/:id (Req) returns (Resp)"), "x.api:14: HEAD /h/:id: the methods are"},
		{"a parameter without a field", route("post /h/:id/:other (Req) returns (Resp)"), "x.api:14: POST /h/:id/:other: the request has no field `path:\"other\"`"},
		{"a field without a parameter", route("post /h (Req) returns (Resp)"), "the path has no parameter :id"},
		{"a list as request", route("post /h ([]Req) returns (Resp)"), "must be struct"},
		{"an answer with a path tag", route("post /h/:id (Req) returns (Req)"), "x.api:5: Req.Id: an answer may have only json tags, not path"},

		{"two tags", field("A string `form:\"a\" json:\"a\"`"), "x.api:5: Req.A: want one tag"},
		{"no tag", field("A string"), "x.api:5: Req.A: want one tag"},
		{"a dot", field("A string `json:\"a.b\"`"), "x.api:5: Req.A: the json tag needs a name"},
		{"the same name twice", field("A string `json:\"a\"`\n\t\tB string `json:\"A\"`"), "x.api:6: Req.B: another field has the same name"},
		{"any", field("A interface{} `json:\"a\"`"), "cannot contain the type interface{}"},
		{"keys that are not strings", field("A map[int]string `json:\"a\"`"), "cannot contain the type map[int]string"},
		{"a map of pointers", field("A map[string]*int `json:\"a\"`"), "cannot contain the type map[string]*int"},
		{"a pointer to a list", field("A *[]int `json:\"a\"`"), "cannot contain the type *[]int"},
		{"an array", field("A [2]int `json:\"a\"`"), "cannot contain the type [2]int"},
		{"itself", field("A []Req `json:\"a,optional\"`"), "a request cannot contain itself"},
		{"a struct in a query", field("A Resp `form:\"a\"`"), "the tag form does not support the type Resp"},
		{"a list in a header", field("A []string `header:\"a\"`"), "the tag header does not support"},
		{"omitempty", field("A string `json:\"a,omitempty\"`"), "omitempty is not supported"},
		{"a dependency", field("A string `json:\"a,optional=b\"`"), "optional is not supported"},
		{"an environment variable", field("A string `json:\"a,env=A\"`"), "env is not supported"},
		{"string", field("A int `json:\"a,string\"`"), "string is not supported"},
		{"a default of another type", field("A int `json:\"a,default=x\"`"), "x.api:5: Req.A: the tag"},
		{"a default of a struct", field("A Resp `json:\"a,default=x\"`"), "default= is for simple values"},
		{"a range of strings", field("A string `json:\"a,range=[1:2]\"`"), "range= is for numbers"},
		{"an invalid range", field("A int `json:\"a,range=[2:1]\"`"), "wrong number range setting"},
		{"options of a list", field("A []string `form:\"a,options=a|b\"`"), "no effect"},
		{"open without optional", field("A string `json:\"a,open,options=a|b\"`"), "open is not supported"},
		{"in a nested struct", "type (\n\tReq {\n\t\tInner []Inner `json:\"inner\"`\n\t}\n\tInner {\n\t\tA int `form:\"a\"`\n\t}\n\tResp {}\n)" + service,
			"x.api:8: Inner.A: a struct in a request may have only json tags"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.api")
			content := "syntax = \"v1\"\n\n" + tt.api
			if tt.name == "syntax" {
				content = tt.api
			}
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Parse(file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
