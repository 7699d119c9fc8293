package migrations

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

var writeSchema = flag.Bool("write", false, "write model/schema.sql, which goctl generates the model from")

// model/schema.sql holds the tables that the migrations create. `make gen` writes it:
//
//	go test ./model/migrations -run TestSchema -write
func TestSchema(t *testing.T) {
	const file = "../schema.sql"
	want := dump(t)
	if *writeSchema {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run make gen (-migrations +schema.sql):\n%s", diff)
	}
}

// dump migrates an empty database and returns its tables as SQL, without those of this package.
func dump(t *testing.T) string {
	t.Helper()
	db := mariaDB(t)
	if err := Migrate(t.Context(), db, MySQL); err != nil {
		t.Fatal(err)
	}
	var names string
	err := db.QueryRowContext(t.Context(), `SELECT GROUP_CONCAT(table_name ORDER BY table_name)
		FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name NOT LIKE 'goose%'`).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	schema := "-- Written by make gen from model/migrations. DO NOT EDIT.\n"
	for name := range strings.SplitSeq(names, ",") {
		var ddl string
		if err := db.QueryRowContext(t.Context(), "SHOW CREATE TABLE `"+name+"`").Scan(&name, &ddl); err != nil {
			t.Fatal(err)
		}
		schema += "\n" + normalise(ddl) + ";\n"
	}
	return schema
}

var (
	intWidth      = regexp.MustCompile(`\b((?:small|medium|big)?int)\(\d+\)`) // not tinyint(1)
	tableOptions  = regexp.MustCompile(`(?m)^\) ENGINE=.*$`)
	utf8mb4Column = regexp.MustCompile(` (?:CHARACTER SET utf8mb4 )?COLLATE utf8mb4_unicode_ci`)
)

// normalise removes differences between versions of MariaDB.
func normalise(ddl string) string {
	ddl = utf8mb4Column.ReplaceAllString(intWidth.ReplaceAllString(ddl, "$1"), "")
	const options = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
	return tableOptions.ReplaceAllString(ddl, options)
}
