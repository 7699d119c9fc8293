package migrations

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A file is in the folder of its dialect, or in both where the dialects agree.
//
//go:embed mysql sqlite both
var files embed.FS

// migration is one file.
type migration struct {
	version   int64
	name      string // of the file
	statement string // without its semicolon
}

// load returns the migrations of a dialect in the order of their versions.
func load(d Dialect) ([]migration, error) {
	if d != MySQL && d != SQLite {
		return nil, fmt.Errorf("migrations: unknown dialect %q", d)
	}
	var all []migration
	for _, folder := range []string{"both", string(d)} {
		names, err := fs.Glob(files, folder+"/*.sql")
		if err != nil {
			return nil, fmt.Errorf("migrations: %w", err)
		}
		for _, file := range names {
			text, err := files.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("migrations: %w", err)
			}
			m, err := parse(file, string(text))
			if err != nil {
				return nil, fmt.Errorf("migrations: %s: %w", file, err)
			}
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i := 1; i < len(all); i++ {
		if all[i].version == all[i-1].version {
			return nil, fmt.Errorf("migrations: %s and %s have the same version", all[i-1].name, all[i].name)
		}
	}
	return all, nil
}

// parse reads a file. MySQL commits each DDL statement by itself, so a migration of several could
// stop between them: it has one statement, and an ALTER TABLE has one action. SQLite takes several,
// because it undoes them together.
func parse(file, text string) (migration, error) {
	name := path.Base(file)
	number, _, _ := strings.Cut(name, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil || version < 1 {
		return migration{}, errors.New("the name must be like 00002_phone.sql")
	}
	_, up, ok := strings.Cut(text, "-- +goose Up\n")
	if !ok {
		return migration{}, errors.New("the line `-- +goose Up` is missing")
	}
	up, _, _ = strings.Cut(up, "-- +goose Down")
	var lines []string
	for line := range strings.Lines(up) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			lines = append(lines, line)
		}
	}
	statement := strings.TrimSpace(strings.Join(lines, ""))
	statement = strings.TrimSpace(strings.TrimSuffix(statement, ";"))
	semicolons, commas := separators(statement)
	if path.Dir(file) == string(SQLite) {
		semicolons = 0
	}
	if statement == "" || semicolons > 0 {
		return migration{}, fmt.Errorf("%d statements, want 1 in each file", semicolons+min(1, len(statement)))
	}
	if alterTable.MatchString(statement) && commas > 0 {
		return migration{}, fmt.Errorf("ALTER TABLE with %d actions, want 1 in each file", commas+1)
	}
	return migration{version, name, statement}, nil
}

// separators counts the semicolons and commas outside of quotes and parentheses.
func separators(statement string) (semicolons, commas int) {
	var quote rune
	depth := 0
	for _, r := range statement {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"' || r == '`':
			quote = r
		case r == '(':
			depth++
		case r == ')':
			depth--
		case depth == 0 && r == ';':
			semicolons++
		case depth == 0 && r == ',':
			commas++
		}
	}
	return semicolons, commas
}
