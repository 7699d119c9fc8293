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
	"github.com/pressly/goose/v3/database"
)

// applyAll applies what is missing, on a connection that no other migrator's work goes beside.
func applyAll(ctx context.Context, conn *sql.Conn, d Dialect, all []migration) error {
	store, err := newStore(d)
	if err != nil {
		return err
	}
	if err := makeTables(ctx, conn, d, store); err != nil {
		return fmt.Errorf("migrations: make the version table: %w", err)
	}
	versions, err := applied(ctx, conn, d)
	if err != nil {
		return err
	}
	for _, m := range all {
		if versions[m.version] {
			continue
		}
		if err := apply(ctx, conn, d, store, m); err != nil {
			return fmt.Errorf("migrations: apply %s: %w", m.name, err)
		}
	}
	return nil
}

// makeTables makes goose's version table, and on MySQL the one of begun migrations. A run that was
// killed may have left a version table without its first row.
func makeTables(ctx context.Context, conn *sql.Conn, d Dialect, store database.Store) error {
	columns, err := columnNames(ctx, conn, d, versionTable)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		if err := store.CreateVersionTable(ctx, conn); err != nil {
			return err
		}
	}
	if _, err := store.GetMigration(ctx, conn, 0); errors.Is(err, database.ErrVersionNotFound) {
		err = store.Insert(ctx, conn, database.InsertRequest{Version: 0})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if d == MySQL {
		_, err = conn.ExecContext(ctx,
			"CREATE TABLE IF NOT EXISTS "+begunTable+" (version_id bigint NOT NULL PRIMARY KEY)")
	}
	return err
}

// begunTable has a row for each migration that was begun and is not in the version table. MySQL
// commits DDL by itself, so a migrator that is killed between the statement and its version leaves
// the change without the version. The next run may find the change made already: it takes that
// for its own only where this row says that the migration was begun before.
const begunTable = "goose_begun"

func apply(ctx context.Context, conn *sql.Conn, d Dialect, store database.Store, m migration) error {
	begunBefore := false
	if d == MySQL {
		var err error
		if begunBefore, err = begin(ctx, conn, m.version); err != nil {
			return err
		}
	}
	tx, err := conn.BeginTx(ctx, nil) // SQLite undoes DDL with it; MySQL only UPDATE and the like
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after Commit
	_, err = tx.ExecContext(ctx, m.statement)
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); ok {
		if begunBefore {
			err = compareWithStatement(ctx, tx, m.statement, refusal)
		} else {
			// The server refused, so nothing was changed: a later run must not take a change that
			// somebody else made for this migration's.
			_, cleanErr := conn.ExecContext(ctx, "DELETE FROM "+begunTable+" WHERE version_id = ?", m.version)
			err = errors.Join(err, cleanErr)
		}
	}
	if err != nil {
		return err
	}
	if err := store.Insert(ctx, tx, database.InsertRequest{Version: m.version}); err != nil {
		return err
	}
	if d == MySQL {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+begunTable+" WHERE version_id = ?", m.version); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// begin commits the row of a migration that begins, and reports whether it was there before.
func begin(ctx context.Context, conn *sql.Conn, version int64) (before bool, err error) {
	res, err := conn.ExecContext(ctx, "INSERT IGNORE INTO "+begunTable+" VALUES (?)", version)
	if err != nil {
		return false, err
	}
	inserted, err := res.RowsAffected()
	return inserted == 0, err
}

const (
	tableExists     = 1050
	duplicateColumn = 1060
	duplicateIndex  = 1061
	nothingToDrop   = 1091
)

var (
	alterTable  = regexp.MustCompile("(?is)^ALTER\\s+TABLE\\s+`?(\\w+)`?\\s+(.*)$")
	addColumn   = regexp.MustCompile("(?is)^ADD\\s+(?:COLUMN\\s+)?`?(\\w+)`?\\s")
	addIndex    = regexp.MustCompile("(?is)^ADD\\s+(?:UNIQUE\\s+)?(?:INDEX|KEY)\\s+`?(\\w+)`?\\s*\\(")
	createIndex = regexp.MustCompile("(?is)^(CREATE\\s+(?:UNIQUE\\s+)?INDEX\\s+`?(\\w+)`?\\s+ON\\s+)`?(\\w+)`?(.*)$")
	createTable = regexp.MustCompile("(?is)^CREATE\\s+TABLE\\s+`?(\\w+)`?(.*)$")
)

// expectedTable is a temporary table on which a statement is made once more, to see what it gives.
const expectedTable = "goose_expected"

// compareWithStatement returns nil where refusal says that the change is there already and the
// table is as the statement makes it. It undoes the change and makes it again in a temporary copy of
// the table, and compares the definitions. Else it returns refusal, with the difference.
func compareWithStatement(ctx context.Context, tx *sql.Tx, statement string, refusal *mysql.MySQLError) error {
	if refusal.Number == nothingToDrop {
		return nil
	}
	table, again := redo(statement, refusal.Number)
	if again == nil {
		return refusal
	}
	want, have, err := definitions(ctx, tx, table, again)
	if err != nil {
		return fmt.Errorf("%w; compare %s with the statement: %w", refusal, table, err)
	}
	if slices.Equal(have, want) {
		return nil
	}
	return fmt.Errorf("%w; %s differs from the statement: it has %q, the statement gives %q",
		refusal, table, without(have, want), without(want, have))
}

// redo returns the table that a statement changes, and the queries that make expectedTable as the
// statement makes it; none for statements and refusals that are not comparable.
func redo(statement string, refusal uint16) (table string, again []string) {
	if m := createTable.FindStringSubmatch(statement); m != nil && refusal == tableExists {
		return m[1], []string{"CREATE TEMPORARY TABLE " + expectedTable + m[2]}
	}
	const alter = "ALTER TABLE " + expectedTable + " "
	undone := func(table, drop, name string) []string {
		return []string{
			"CREATE TEMPORARY TABLE " + expectedTable + " LIKE `" + table + "`",
			alter + drop + " `" + name + "`",
		}
	}
	if m := createIndex.FindStringSubmatch(statement); m != nil && refusal == duplicateIndex {
		return m[3], append(undone(m[3], "DROP INDEX", m[2]), m[1]+expectedTable+m[4])
	}
	m := alterTable.FindStringSubmatch(statement)
	if m == nil {
		return "", nil
	}
	if index := addIndex.FindStringSubmatch(m[2]); index != nil && refusal == duplicateIndex {
		return m[1], append(undone(m[1], "DROP INDEX", index[1]), alter+m[2])
	}
	if column := addColumn.FindStringSubmatch(m[2]); column != nil && refusal == duplicateColumn {
		return m[1], append(undone(m[1], "DROP COLUMN", column[1]), alter+m[2])
	}
	return "", nil
}

// definitions returns that of expectedTable, made with the queries again, and that of table.
func definitions(ctx context.Context, tx *sql.Tx, table string, again []string) (want, have []string, err error) {
	const drop = "DROP TEMPORARY TABLE IF EXISTS " + expectedTable
	for _, query := range append([]string{drop}, again...) {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return nil, nil, err
		}
	}
	if want, err = definition(ctx, tx, expectedTable); err != nil {
		return nil, nil, err
	}
	if have, err = definition(ctx, tx, table); err != nil {
		return nil, nil, err
	}
	_, err = tx.ExecContext(ctx, drop)
	return want, have, err
}

// without returns the lines that are not in others.
func without(lines, others []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return slices.Contains(others, line) })
}

var autoIncrement = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// definition returns the columns, indexes and options of a table, one a line.
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
