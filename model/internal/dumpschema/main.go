// Command dumpschema migrates an empty MariaDB and writes its tables as SQL, from which goctl generates
// the models; goose's own tables are left out. `make gen` runs it. Parts that servers print
// differently are normalised, so that the file changes only with the migrations.
//
//	go run ./model/internal/dumpschema model/schema.sql
//	goctl model mysql ddl --src model/schema.sql --dir model --cache --style go_zero --home tools/goctl --ignore-columns ''
//
// By default goctl does not insert created_at and updated_at, for the server to fill. The empty
// --ignore-columns changes that, because here the service's clock fills them.
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
	schema, err := dump(ctx, server.DSN(name))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(schema), 0o644)
}

const header = "-- Written by model/internal/dumpschema from model/migrations. DO NOT EDIT.\n\n"

// dump migrates the database, which is empty, and returns the contents of schema.sql.
func dump(ctx context.Context, dsn string) (_ string, err error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := migrations.Migrate(ctx, db, migrations.MySQL); err != nil {
		return "", err
	}
	names, err := tables(ctx, db)
	if err != nil {
		return "", fmt.Errorf("list the tables: %w", err)
	}
	var schema []string
	for _, name := range names {
		var ddl string
		if err := db.QueryRowContext(ctx, "SHOW CREATE TABLE `"+name+"`").Scan(&name, &ddl); err != nil {
			return "", fmt.Errorf("read the table %s: %w", name, err)
		}
		schema = append(schema, normalise(ddl)+";\n")
	}
	return header + strings.Join(schema, "\n"), nil
}

// tables returns the names of all tables but goose's, in their order.
func tables(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT table_name FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name NOT LIKE 'goose%' ORDER BY table_name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // rows.Err reports the failure
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

var (
	intWidth      = regexp.MustCompile(`\b((?:small|medium|big)?int)\(\d+\)`) // MySQL 8 prints none; tinyint(1) is a bool and stays
	quotedNumber  = regexp.MustCompile(`DEFAULT '(-?\d+)'`)                   // MySQL quotes numbers, MariaDB does not
	tableOptions  = regexp.MustCompile(`(?m)^\) ENGINE=.*$`)                  // order and defaults differ, and AUTO_INCREMENT may be there
	utf8mb4Column = regexp.MustCompile(` (?:CHARACTER SET utf8mb4 )?COLLATE utf8mb4_unicode_ci`)
)

func normalise(ddl string) string {
	ddl = intWidth.ReplaceAllString(ddl, "$1")
	ddl = quotedNumber.ReplaceAllString(ddl, "DEFAULT $1")
	ddl = utf8mb4Column.ReplaceAllString(ddl, "")
	return tableOptions.ReplaceAllString(ddl, ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci")
}
