// Command clientgen writes the types and calls of the TypeScript client from
// an .api file, read with goctl's own parser, so that client and server have
// one source. `make gen` runs it. `goctl api ts` was weighed first: it tells
// neither which endpoints need a session nor a cleared field from an absent
// one, and brings an untyped request helper along.
//
//	clientgen shares.api client/src/generated.ts
package main

import (
	"fmt"
	"os"

	"github.com/zeromicro/go-zero/tools/goctl/pkg/parser/api/parser"
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
	api, err := parser.Parse(from, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	code, err := generate(api)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, code, 0o644)
}
