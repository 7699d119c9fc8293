package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tree is a copy of this repository's sources that a test may change.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree {
	t.Helper()
	bin, err := filepath.Abs("../../.bin") // `make .bin/.built` puts goctl there
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	root := t.TempDir()
	if _, err := copyTree("../..", root); err != nil {
		t.Fatal(err)
	}
	return tree{t, root}
}

// replace changes a file. pairs are old and new texts in turn.
func (tr tree) replace(name string, pairs ...string) {
	tr.t.Helper()
	path := filepath.Join(tr.root, name)
	data, err := os.ReadFile(path)
	if err != nil {
		tr.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(data, []byte(pairs[i])) {
			tr.t.Fatalf("%s has no %q", name, pairs[i])
		}
	}
	if err := os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(data))), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) write(name, text string) {
	tr.t.Helper()
	if err := write(tr.root, name, []byte(text)); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) files() files {
	tr.t.Helper()
	all, err := readTree(tr.root)
	if err != nil {
		tr.t.Fatal(err)
	}
	return all
}

func (tr tree) gen(check bool) (string, error) {
	tr.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tr.t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	printed := make(chan []byte)
	go func() {
		out, _ := io.ReadAll(r)
		printed <- out
	}()
	runErr := run(tr.root, check)
	os.Stdout = stdout
	w.Close()
	return string(<-printed), runErr
}

func changedFiles(before, after files) []string {
	names := map[string]bool{}
	for name, data := range before {
		if now, ok := after[name]; !ok || !bytes.Equal(now, data) {
			names[name] = true
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func TestNothingIsWrittenWhenAGeneratorFails(t *testing.T) {
	for cause, change := range map[string]func(tree){
		"shares.api": func(tr tree) { tr.replace("shares.api", "@handler Oauth", "@handler Oauth (") },
		`shares\.api:\d+: HEAD /shares/api/v1/weixin\.get_qrcode: the methods are`: func(tr tree) {
			tr.replace("shares.api", "post /weixin.get_qrcode", "head /weixin.get_qrcode")
		},
		`shares\.api:\d+: GetQrcodeReq\.Page: omitempty is not supported`: func(tr tree) {
			tr.replace("shares.api", `json:"page,optional"`, `json:"page,omitempty"`)
		},
		// The contract is valid, so goctl has already written handlers.
		"clientbundle": func(tr tree) {
			tr.replace("shares.api", "/weixin.get_qrcode", "/weixin.get_code")
			tr.replace("client/src/index.ts", "./client.js", "./absent.js")
		},
	} {
		t.Run(cause, func(t *testing.T) {
			tr := newTree(t)
			change(tr)
			before := tr.files()
			out, err := tr.gen(false)
			for _, want := range []string{cause, "nothing was written"} {
				if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
					t.Errorf("error %v, want a match of %q\n%s", err, want, out)
				}
			}
			if changed := changedFiles(before, tr.files()); len(changed) > 0 {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}

// A migration with a new table gets a model with the same constructor as the users' model.
func TestSecondTable(t *testing.T) {
	tr := newTree(t)
	const table = "-- +goose Up\nCREATE TABLE `note` (\n  `id` bigint NOT NULL AUTO_INCREMENT,\n" +
		"  `user_id` bigint NOT NULL,\n  `text` varchar(255) NOT NULL DEFAULT '',\n  PRIMARY KEY (`id`)\n);\n"
	tr.write("model/migrations/mysql/00099_note.sql", "-- +goose NO TRANSACTION\n"+table)
	tr.write("model/migrations/sqlite/00099_note.sql", strings.ReplaceAll(table, "bigint NOT NULL AUTO_INCREMENT", "integer NOT NULL"))
	if out, err := tr.gen(false); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after := tr.files()
	for name, want := range map[string]string{
		"model/schema.sql":               "CREATE TABLE `note` (",
		"model/note_model.go":            "func NewNoteModel(conn sqlx.SqlConn, c cache.Cache) NoteModel {",
		"model/note_model_gen.go":        "UserId int64  `db:\"user_id\"`",
		"model/wx_userinfo_model_gen.go": "func newWxUserinfoModel(conn sqlx.SqlConn, c cache.Cache) *defaultWxUserinfoModel {",
	} {
		if !bytes.Contains(after[name], []byte(want)) {
			t.Errorf("%s has no %q:\n%s", name, want, after[name])
		}
	}

	// Without its table, the model is no longer generated, and its handwritten file is reported.
	for _, dialect := range []string{"mysql", "sqlite"} {
		if err := os.Remove(filepath.Join(tr.root, "model/migrations", dialect, "00099_note.sql")); err != nil {
			t.Fatal(err)
		}
	}
	out, err := tr.gen(false)
	if want := "any more:\n  model/note_model.go\n"; err != nil || !strings.Contains(out, want) {
		t.Errorf("%v, want %q in:\n%s", err, want, out)
	}
	if tr.files()["model/note_model_gen.go"] != nil {
		t.Error("the generated model of the removed table is still there")
	}
}

// A new endpoint, a renamed request type and a removed endpoint.
func TestReport(t *testing.T) {
	tr := newTree(t)
	tr.replace("shares.api",
		"\tGetQrcodeReq {", "\tGetCodeReq {", "(GetQrcodeReq)", "(GetCodeReq)",
		"@handler ReLogin\n\tpost /weixin.re_login (ReLoginReq) returns (ReLoginResp)",
		"@handler LogOut\n\tpost /weixin.log_out (ReLoginReq) returns (ReLoginResp)")
	const (
		unfilled = "gen: left to fill:\n  api/internal/logic/weixin/log_out_logic.go\n"
		misfit   = "gen: signatures that no longer fit:\n  api/internal/logic/weixin/get_qrcode_logic.go:"
		wanted   = ": want func (l *GetQrcodeLogic) GetQrcode(req *types.GetCodeReq) (resp *types.GetQrcodeResp, err error)\n"
		unused   = "any more:\n  api/internal/logic/weixin/re_login_logic.go\n"
	)
	before := tr.files()
	out, err := tr.gen(true)
	if err == nil || !strings.Contains(err.Error(), "run make gen") {
		t.Errorf("the check before make gen: %v", err)
	}
	if changed := changedFiles(before, tr.files()); len(changed) > 0 {
		t.Errorf("the check wrote %v", changed)
	}
	for range 2 { // the second run changes nothing and prints the same
		out, err = tr.gen(false)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{unfilled, misfit, wanted, unused} {
			if !strings.Contains(out, want) {
				t.Errorf("make gen does not print %q:\n%s", want, out)
			}
		}
		after := tr.files()
		if _, ok := after["api/internal/handler/weixin/re_login_handler.go"]; ok {
			t.Error("the handler of the removed endpoint is still there")
		}
		for _, name := range []string{"get_qrcode_logic.go", "re_login_logic.go"} {
			name = "api/internal/logic/weixin/" + name
			if !bytes.Equal(before[name], after[name]) {
				t.Errorf("the handwritten file %s was changed", name)
			}
		}
	}
	if out, err = tr.gen(true); err == nil || !strings.Contains(err.Error(), "named above") {
		t.Errorf("the check after make gen: %v\n%s", err, out)
	}
}
