package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// step is a group of commands, for which gen prints one line.
type step struct {
	makes, from string
	commands    []command
}

// command is a command line without quotes, and the folder to run it in.
type command struct{ dir, line string }

// The README has the same goctl commands, for use without make.
var steps = []step{
	{"api", "shares.api", []command{
		{".", "goctl api go --api shares.api --dir api --style go_zero --home tools/goctl"},
	}},
	{"rpc", "rpc/weixin.proto", []command{
		{"rpc", "goctl rpc protoc weixin.proto --go_out=. --go-grpc_out=. --zrpc_out=. --style go_zero --client=false"},
	}},
	{"model", "model/migrations, in a MariaDB of its own", []command{
		{".", "go test -trimpath -count=1 -run ^TestSchema$ ./model/migrations -write"},
		{".", "goctl model mysql ddl --src model/schema.sql --dir model --cache --style go_zero --home tools/goctl --ignore-columns="},
	}},
	{"docs", "shares.api", []command{
		{".", "goctl api swagger --api shares.api --dir docs --filename openapi"},
		{"tools", "go run -trimpath ./openapi ../shares.api ../docs/openapi.json"},
	}},
	{"client", "shares.api", []command{
		{"tools", "go run -trimpath ./clientgen ../shares.api ../client/src/generated.ts"},
	}},
	{"page", "client/src", []command{
		{"tools", "go run -trimpath ./clientbundle ../client/src/index.ts ../internal/page/static/client.js"},
	}},
}

// stub matches the files that goctl writes once and does not overwrite. generate makes goctl write
// all of them, and settle restores the old ones.
var stub = regexp.MustCompile(`^(api|rpc)/internal/(logic|middleware)/(.*/)?[^/]+_(logic|middleware)\.go$`)

// remade matches the files that are completely generated.
var remade = regexp.MustCompile(`^(api/internal/handler/|rpc/pb/|rpc/internal/server/).*\.go$|^model/[^/]+_model_gen\.go$`)

// generate runs the generators in tree, which is a temporary copy.
func generate(tree string) error {
	all, err := readTree(tree)
	if err != nil {
		return err
	}
	for name := range all {
		if stub.MatchString(name) || remade.MatchString(name) {
			if err := os.Remove(filepath.Join(tree, filepath.FromSlash(name))); err != nil {
				return err
			}
		}
	}
	for _, s := range steps {
		fmt.Printf("gen: %-7s from %s\n", s.makes, s.from)
		start := time.Now()
		for _, c := range s.commands {
			if err := c.run(tree); err != nil {
				return fmt.Errorf("%w\nnothing was written", err)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			fmt.Printf("gen:         took %s\n", took.Round(time.Second))
		}
	}
	// goctl adds sample settings if there are none; the real ones are in etc/.
	for _, samples := range []string{"api/etc", "rpc/etc"} {
		if err := os.RemoveAll(filepath.Join(tree, samples)); err != nil {
			return err
		}
	}
	return dropProtocVersion(tree)
}

func (c command) run(tree string) error {
	words := strings.Fields(c.line)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = filepath.Join(tree, c.dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // like `make build`, for its build cache
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c.line, err, out)
	}
	return nil
}

var protocVersion = regexp.MustCompile(`(?m)^// -?\s*protoc\s+v.*\n`)

// dropProtocVersion deletes the line with the protoc version, which differs between machines.
func dropProtocVersion(tree string) error {
	generated, err := filepath.Glob(filepath.Join(tree, "rpc/pb/*.pb.go"))
	if err != nil {
		return err
	}
	for _, file := range generated {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, protocVersion.ReplaceAll(data, nil), 0o644); err != nil {
			return err
		}
	}
	return nil
}
