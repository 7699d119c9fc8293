// Command gen generates all code from its three sources: shares.api, rpc/weixin.proto and
// model/migrations. It works in a copy of the tree and moves the result when all generators have
// succeeded. Then it lists stubs to fill in, logic whose signature no longer fits, and unused
// files. `make gen` runs it, with the generators of tools/go.mod on the PATH.
//
//	go -C tools run ./gen [-check] [-root FOLDER]
//
// With -check it writes nothing. It fails if something would change, if a signature does not fit,
// or if a file is not used.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"shares/tools/apifile"
)

func main() {
	check := flag.Bool("check", false, "write nothing, fail when something would change")
	root := flag.String("root", "..", "the folder of shares.api")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	copied, err := os.MkdirTemp("", "shares-gen-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copied) // a folder in TMPDIR
	if copied, err = filepath.EvalSymlinks(copied); err != nil {
		return err
	}
	before, err := copyTree(root, copied)
	if err != nil {
		return err
	}
	if _, err := apifile.Parse(filepath.Join(copied, "shares.api")); err != nil {
		return fmt.Errorf("%w\nnothing was written", err)
	}
	if err := generate(copied); err != nil {
		return err
	}
	found, err := settle(copied, before)
	if err != nil {
		return err
	}
	changes, err := compare(copied, before)
	if err != nil {
		return err
	}
	if check {
		changes.print(root, copied)
	} else if err := changes.apply(root); err != nil {
		return err
	}
	found.print()
	switch {
	case check && !changes.empty():
		return errors.New("the generated code does not match its sources: run make gen")
	case check && len(found.misfits)+len(found.unused) > 0:
		return errors.New("change or delete the files named above")
	}
	return nil
}
