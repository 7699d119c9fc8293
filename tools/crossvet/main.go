// Command crossvet vets a module and its tests for other operating systems, from source. It exists
// because `go vet` with GOOS compiles every dependency first, which takes minutes.
//
//	go -C tools run ./crossvet .. windows darwin
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/packages"
)

func main() {
	for _, system := range os.Args[2:] {
		n, err := check(os.Args[1], system)
		if err != nil {
			fmt.Fprintln(os.Stderr, "crossvet:", system+":", err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d packages\n", system, n)
	}
}

func check(dir, system string) (int, error) {
	config := &packages.Config{
		Mode: packages.LoadAllSyntax | packages.NeedModule,
		Dir:  dir, Env: append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0"), Tests: true,
	}
	loaded, err := packages.Load(config, "./...")
	if err != nil {
		return 0, err
	}
	if packages.PrintErrors(loaded) > 0 {
		return 0, errors.New("the module does not compile")
	}
	// Leave out analyzers that the vet of Go 1.26 does not have.
	suite := slices.DeleteFunc(slices.Clone(vet.Suite), func(a *analysis.Analyzer) bool {
		return a.Name == "scannererr" || a.Name == "sqlrowserr"
	})
	graph, err := checker.Analyze(suite, loaded, nil)
	if err != nil {
		return 0, err
	}
	findings := false
	for _, action := range graph.Roots {
		if err := action.Err; err != nil {
			return 0, err
		}
		findings = findings || len(action.Diagnostics) > 0
	}
	if findings {
		return 0, errors.Join(errors.New("vet has findings"), graph.PrintText(os.Stderr, 0))
	}
	return len(loaded), nil
}
