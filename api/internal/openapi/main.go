// Command openapi prints constants and the error table for tools/openapi, as JSON. Only `make gen`
// runs it.
package main

import (
	"encoding/json"
	"os"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/api/internal/upload"
)

func main() {
	err := json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cookie": session.CookieName, "maxFile": upload.MaxFile, "errors": answer.Table(),
	})
	if err != nil {
		os.Exit(1)
	}
}
