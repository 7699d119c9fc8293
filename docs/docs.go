// Package docs holds the documents that the program itself hands out. They are
// made by `make gen`; the page of dev mode serves them.
package docs

import (
	_ "embed"
	"encoding/json"
	"strings"
)

//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the description of the HTTP API in JSON, Swagger 2.0, as goctl
// writes it. The caller must not change it.
func OpenAPI() []byte { return openAPI }

// Path returns the path of an endpoint of shares.api, such as "weixin.oauth", and "" when there is
// no such endpoint.
func Path(endpoint string) string {
	var api struct{ Paths map[string]any }
	_ = json.Unmarshal(openAPI, &api) // the tests parse it
	for path := range api.Paths {
		if strings.HasSuffix(path, "/"+endpoint) {
			return path
		}
	}
	return ""
}
