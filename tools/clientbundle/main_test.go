package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBundle(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string // part of the module
		fails string // part of the error
	}{
		"one module": {
			files: map[string]string{
				"index.ts": `export { answer } from "./answer.js"; export type { Asked } from "./answer.js";`,
				"answer.ts": `export interface Asked { by: string }
					export const answer = (asked: Asked): string => asked.by + "，好";`,
			},
			want: "var answer = (asked) => asked.by + \"，好\";\nexport {\n  answer\n};",
		},
		"a missing file": {
			files: map[string]string{"index.ts": `export * from "./nothing.js";`},
			fails: "nothing.js",
		},
		"no TypeScript": {
			files: map[string]string{"index.ts": `export const = 1;`},
			fails: "Expected identifier",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := bundle(filepath.Join(dir, "index.ts"))
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, want an error with %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(got), tt.want) || strings.Contains(string(got), dir) {
				t.Errorf("got this module, want one with %q and without paths of this machine:\n%s", tt.want, got)
			}
		})
	}
}
