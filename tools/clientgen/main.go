// Command clientgen writes the types and calls of the TypeScript client from an .api file, so that
// client and server have one source. `make gen` runs it. `goctl api ts` is not enough: it does not
// know which endpoints need a session, and does not distinguish cleared fields from absent ones.
//
//	clientgen shares.api client/src/generated.ts
package main

import (
	"fmt"
	"os"

	"shares/tools/apifile"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clientgen file.api file.ts")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "clientgen:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	api, err := apifile.Parse(from)
	if err != nil {
		return err
	}
	code, err := generate(api)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, code, 0o644)
}
