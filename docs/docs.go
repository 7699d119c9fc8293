// Package docs holds the documents that the program itself hands out. They are
// made by `make gen`; the page of dev mode serves them.
package docs

import _ "embed"

//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the description of the HTTP API in JSON, Swagger 2.0, as goctl
// writes it. The caller must not change it.
func OpenAPI() []byte { return openAPI }
