// Command dumpschema migrates an empty MariaDB and writes its tables as SQL, without the tables of
// package migrations. goctl generates the models from this file. `make gen` runs it as
//
//	go run ./model/internal/dumpschema model/schema.sql
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	_ "github.com/go-sql-driver/mysql"

	"shares/internal/testenv"
	"shares/model/migrations"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dumpschema FILE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dumpschema:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string) (err error) {
	server, err := testenv.StartMariaDB(testenv.Volatile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	name, err := server.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	db, err := sql.Open("mysql", server.DSN(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	schema, err := dump(ctx, db)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(schema), 0o644)
}

const header = "-- Written by model/internal/dumpschema from model/migrations. DO NOT EDIT.\n"

// dump migrates an empty database and returns the contents of schema.sql.
func dump(ctx context.Context, db *sql.DB) (string, error) {
	if err := migrations.Migrate(ctx, db, migrations.MySQL); err != nil {
		return "", err
	}
	var names string
	err := db.QueryRowContext(ctx, `SELECT GROUP_CONCAT(table_name ORDER BY table_name)
		FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name NOT LIKE 'goose%'`).Scan(&names)
	if err != nil {
		return "", fmt.Errorf("list the tables: %w", err)
	}
	schema := header
	for name := range strings.SplitSeq(names, ",") {
		var ddl string
		err := db.QueryRowContext(ctx, "SHOW CREATE TABLE `"+name+"`").Scan(&name, &ddl)
		if err != nil {
			return "", fmt.Errorf("read the table %s: %w", name, err)
		}
		schema += "\n" + normalise(ddl) + ";\n"
	}
	return schema, nil
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
