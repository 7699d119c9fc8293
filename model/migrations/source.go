package migrations

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// files has a folder for each dialect, and both for files that all dialects accept.
//
//go:embed mysql sqlite both
var files embed.FS

// migration is one file.
type migration struct {
	version   int64
	name      string // of the file
	statement string // without its semicolon
}

// load returns the migrations of a dialect, ordered by version.
func load(d Dialect) ([]migration, error) {
	if d != MySQL && d != SQLite {
		return nil, fmt.Errorf("migrations: unknown dialect %q", d)
	}
	var all []migration
	err := fs.WalkDir(files, ".", func(file string, entry fs.DirEntry, err error) error {
		folder := path.Dir(file)
		if err != nil || path.Ext(file) != ".sql" || folder != "both" && folder != string(d) {
			return err
		}
		text, err := files.ReadFile(file)
		if err != nil {
			return err
		}
		m, err := parse(file, string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	slices.SortFunc(all, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i := 1; i < len(all); i++ {
		if all[i].version == all[i-1].version {
			return nil, fmt.Errorf("migrations: %s and %s have the same version",
				all[i-1].name, all[i].name)
		}
	}
	return all, nil
}

// parse reads a file. MySQL commits each DDL statement separately, so a file has one statement, and
// an ALTER TABLE has one action. SQLite's files may have several, because it can roll them back.
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
	statement := strings.TrimSpace(comment.ReplaceAllString(up, ""))
	statement = strings.TrimSpace(strings.TrimSuffix(statement, ";"))
	outside := statement
	for nested.MatchString(outside) {
		outside = nested.ReplaceAllString(outside, "")
	}
	semicolons, commas := strings.Count(outside, ";"), strings.Count(outside, ",")
	if path.Dir(file) == string(SQLite) {
		semicolons = 0
	}
	if statement == "" || semicolons > 0 {
		return migration{}, fmt.Errorf("%d statements, want 1 in each file",
			semicolons+min(1, len(statement)))
	}
	if alterTable.MatchString(statement) && commas > 0 {
		return migration{}, fmt.Errorf("ALTER TABLE with %d actions, want 1 in each file", commas+1)
	}
	return migration{version, name, statement}, nil
}

var (
	comment    = regexp.MustCompile(`(?m)^\s*--.*$`)
	alterTable = regexp.MustCompile(`(?i)^ALTER\s+TABLE\s`)
	// nested matches quoted text, and parentheses without inner ones.
	nested = regexp.MustCompile("'[^']*'|\"[^\"]*\"|`[^`]*`|\\([^()'\"`]*\\)")
)

const firstMigration = "mysql/00001_wx_userinfo.sql"

// Column is a column of wx_userinfo.
type Column struct {
	Name       string
	Definition string // in MySQL's CREATE TABLE, such as "int NOT NULL DEFAULT 5 COMMENT 'how many'"
}

var columnLine = regexp.MustCompile("(?m)^  `([a-z0-9_]+)` (.+?),?$")

// FirstColumns returns the columns of wx_userinfo in the first MySQL migration, in their order.
func FirstColumns() ([]Column, error) {
	text, err := files.ReadFile(firstMigration)
	if err != nil {
		return nil, fmt.Errorf("migrations: read %s: %w", firstMigration, err)
	}
	var columns []Column
	for _, m := range columnLine.FindAllStringSubmatch(string(text), -1) {
		columns = append(columns, Column{Name: m[1], Definition: m[2]})
	}
	return columns, nil
}
