package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// versionTable is the version table of goose. Version 0 stands for the table itself.
const versionTable = "goose_db_version"

// begunTable has a row for each migration that has begun but is not in the version table. MySQL
// commits DDL implicitly, so a migrator that is killed after the statement leaves the change
// without its version. If the next run finds the change in the database, it accepts it only if this
// row exists.
const begunTable = "goose_begun"

// makeTables returns statements that create both tables. They can be repeated after a killed run.
func makeTables(d Dialect) []string {
	id := "bigint NOT NULL AUTO_INCREMENT PRIMARY KEY"
	if d == SQLite {
		id = "INTEGER PRIMARY KEY AUTOINCREMENT"
	}
	return []string{
		"CREATE TABLE IF NOT EXISTS " + versionTable + " (id " + id + ", version_id bigint NOT NULL, " +
			"is_applied boolean NOT NULL, tstamp datetime NULL DEFAULT CURRENT_TIMESTAMP)",
		"INSERT INTO " + versionTable + " (version_id, is_applied) " +
			"SELECT 0, 1 FROM (SELECT 1) AS one WHERE NOT EXISTS " +
			"(SELECT 1 FROM " + versionTable + " WHERE version_id = 0)",
		"CREATE TABLE IF NOT EXISTS " + begunTable + " (version_id bigint NOT NULL PRIMARY KEY)",
	}
}

// applyAll applies the missing migrations on conn. No other migrator may run concurrently.
func applyAll(ctx context.Context, conn *sql.Conn, d Dialect, all []migration) error {
	for _, statement := range makeTables(d) {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("migrations: create the version table: %w", err)
		}
	}
	versions, err := applied(ctx, conn)
	if err != nil {
		return err
	}
	for _, m := range all {
		if versions[m.version] {
			continue
		}
		if err := apply(ctx, conn, m); err != nil {
			return fmt.Errorf("migrations: apply %s: %w", m.name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, conn *sql.Conn, m migration) error {
	const forget = "DELETE FROM " + begunTable + " WHERE version_id = ?"
	begin, err := conn.ExecContext(ctx, "INSERT INTO "+begunTable+" SELECT ? FROM (SELECT 1) AS one "+
		"WHERE NOT EXISTS (SELECT 1 FROM "+begunTable+" WHERE version_id = ?)", m.version, m.version)
	if err != nil {
		return err
	}
	begun, err := begin.RowsAffected()
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil) // SQLite can roll back DDL; MySQL cannot
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after Commit
	_, err = tx.ExecContext(ctx, m.statement)
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); ok {
		if begun == 0 {
			err = compareWithStatement(ctx, tx, m.statement, refusal)
		} else {
			// The statement has changed nothing. A later run must not accept a change that another
			// program made.
			_, forgetErr := conn.ExecContext(ctx, forget, m.version)
			err = errors.Join(err, forgetErr)
		}
	}
	if err != nil {
		return err
	}
	const done = "INSERT INTO " + versionTable + " (version_id, is_applied) VALUES (?, 1)"
	for _, query := range []string{done, forget} {
		if _, err := tx.ExecContext(ctx, query, m.version); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Error numbers of MySQL.
const (
	tableExists     = 1050
	duplicateColumn = 1060
	duplicateIndex  = 1061
	nothingToDrop   = 1091
	noSuchTable     = 1146
)

var (
	createTable = regexp.MustCompile("(?is)^CREATE\\s+TABLE\\s+`?(\\w+)`?(.*)$")
	createIndex = regexp.MustCompile("(?is)^(CREATE\\s+(?:UNIQUE\\s+)?INDEX\\s+`?(\\w+)`?\\s+ON\\s+)" +
		"`?(\\w+)`?(.*)$")
	alterAdd = regexp.MustCompile("(?is)^ALTER\\s+TABLE\\s+`?(\\w+)`?" +
		"(\\s+ADD\\s+(?:(?:COLUMN|(?:UNIQUE\\s+)?(?:INDEX|KEY))\\s+)?`?(\\w+)`?.*)$")
)

// expectedTable is a temporary table, on which a statement is repeated to see its result.
const expectedTable = "goose_expected"

// compareWithStatement returns nil if refusal means that the change exists already, and the table
// is as the statement would make it. To compare them, it undoes and repeats the change in a
// temporary copy of the table. Otherwise it returns refusal with the difference.
func compareWithStatement(ctx context.Context, tx *sql.Tx, statement string,
	refusal *mysql.MySQLError) error {
	if refusal.Number == nothingToDrop {
		return nil
	}
	table, again := redo(statement, refusal.Number)
	if again == nil {
		return refusal
	}
	drop := "DROP TEMPORARY TABLE IF EXISTS " + expectedTable
	for _, query := range append([]string{drop}, again...) {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("%w; repeat the statement: %w", refusal, err)
		}
	}
	want, wantErr := definition(ctx, tx, expectedTable)
	have, haveErr := definition(ctx, tx, table)
	if err := errors.Join(wantErr, haveErr); err != nil {
		return fmt.Errorf("%w; compare %s with the statement: %w", refusal, table, err)
	}
	if slices.Equal(have, want) {
		return nil
	}
	return fmt.Errorf("%w; %s differs from the statement: it has %q, want %q",
		refusal, table, without(have, want), without(want, have))
}

// redo returns the table that a statement changes, and queries that create expectedTable with this
// change. It returns no queries if the statement or the refusal cannot be compared.
func redo(statement string, refusal uint16) (table string, again []string) {
	if m := createTable.FindStringSubmatch(statement); m != nil && refusal == tableExists {
		return m[1], []string{"CREATE TEMPORARY TABLE " + expectedTable + m[2]}
	}
	const alter = "ALTER TABLE " + expectedTable
	var name, change string
	if m := createIndex.FindStringSubmatch(statement); m != nil {
		table, name, change = m[3], m[2], m[1]+expectedTable+m[4]
	} else if m := alterAdd.FindStringSubmatch(statement); m != nil {
		table, name, change = m[1], m[3], alter+m[2]
	}
	drop := map[uint16]string{
		duplicateColumn: " DROP COLUMN `", duplicateIndex: " DROP INDEX `",
	}[refusal]
	if table == "" || drop == "" {
		return "", nil
	}
	copied := "CREATE TEMPORARY TABLE " + expectedTable + " LIKE `" + table + "`"
	return table, []string{copied, alter + drop + name + "`", change}
}

// without returns the lines that are not in others.
func without(lines, others []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return slices.Contains(others, line)
	})
}

var autoIncrement = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// definition returns the columns, indexes and options of a table, one in each element.
func definition(ctx context.Context, tx *sql.Tx, table string) ([]string, error) {
	var name, ddl string
	if err := tx.QueryRowContext(ctx, "SHOW CREATE TABLE `"+table+"`").Scan(&name, &ddl); err != nil {
		return nil, err
	}
	_, ddl, _ = strings.Cut(autoIncrement.ReplaceAllString(ddl, ""), "\n")
	lines := strings.Split(ddl, "\n")
	for i, line := range lines {
		lines[i] = strings.Trim(line, " ,")
	}
	return lines, nil
}
