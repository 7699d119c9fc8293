// Package migrations holds the schema of the service's database as goose migrations: one folder for
// each dialect, and one for files that both take. It applies them with goose's version table. Both
// dialects have the same versions and the same columns; a test compares them. `shares migrate` calls
// Migrate, and `shares serve` for its own SQLite file; a replica only asks for Pending.
// The package imports nothing of model, because goctl generates that package from what is made here.
package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3/database"
)

// Dialect is the SQL of a database.
type Dialect string

const (
	MySQL  Dialect = "mysql" // MySQL 5.7 and later, and MariaDB
	SQLite Dialect = "sqlite"
)

// ErrForeignTable is returned by Migrate for a database whose wx_userinfo table these migrations did
// not make, or whose takeover, by the takeover package, is unfinished.
var ErrForeignTable = errors.New("migrations: the database has a wx_userinfo table that this service did not make")

const versionTable = "goose_db_version"

// Migrate brings the database to the latest version. Its error names the migration that failed;
// migrations before that one stay applied, and the next call continues with it. On MySQL a second
// caller waits until the first is done or ctx ends. A migration may take long: db's read timeout
// must allow for it.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	all, err := load(d)
	if err != nil {
		return err
	}
	return migrate(ctx, db, d, all)
}

func migrate(ctx context.Context, db *sql.DB, d Dialect, all []migration) error {
	if err := checkOwnTable(ctx, db, d); err != nil {
		return err
	}
	if d == MySQL {
		return WithLock(ctx, db, func(conn *sql.Conn) error { return applyAll(ctx, conn, d, all) })
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close() // it only goes back to the pool
	return applyAll(ctx, conn, d, all)
}

// Pending returns the file names of the migrations that the database lacks, oldest first, none when
// it is up to date. It only reads. A database newer than the binary is up to date, because
// migrations are additive.
func Pending(ctx context.Context, db *sql.DB, d Dialect) ([]string, error) {
	all, err := load(d)
	if err != nil {
		return nil, err
	}
	versions, err := applied(ctx, db, d)
	if err != nil {
		return nil, err
	}
	var pending []string
	for _, m := range all {
		if !versions[m.version] {
			pending = append(pending, m.name)
		}
	}
	return pending, nil
}

// applied returns the versions in the version table, none where there is no such table.
func applied(ctx context.Context, db database.DBTxConn, d Dialect) (map[int64]bool, error) {
	store, err := newStore(d)
	if err != nil {
		return nil, err
	}
	columns, err := columnNames(ctx, db, d, versionTable)
	if err != nil || len(columns) == 0 {
		return nil, err
	}
	rows, err := store.ListMigrations(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("migrations: read the version table: %w", err)
	}
	versions := make(map[int64]bool, len(rows))
	for _, row := range rows {
		versions[row.Version] = true
	}
	return versions, nil
}

func newStore(d Dialect) (database.Store, error) {
	dialects := map[Dialect]database.Dialect{
		MySQL: database.DialectMySQL, SQLite: database.DialectSQLite3,
	}
	store, err := database.NewStore(dialects[d], versionTable)
	if err != nil {
		return nil, fmt.Errorf("migrations: dialect %q: %w", d, err)
	}
	return store, nil
}

// checkOwnTable keeps the first migration, which makes wx_userinfo only if there is none, from
// taking another system's table for this service's. In one that is being taken over, session_epoch
// may still be NULL.
func checkOwnTable(ctx context.Context, db *sql.DB, d Dialect) error {
	query := `SELECT COUNT(*), COALESCE(SUM(column_name = 'session_epoch' AND is_nullable = 'NO'), 0)
		FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo'`
	if d == SQLite {
		query = "SELECT COUNT(*), COALESCE(SUM(name = 'session_epoch' AND `notnull`), 0) " +
			"FROM pragma_table_info('wx_userinfo')"
	}
	var columns, epochs int
	if err := db.QueryRowContext(ctx, query).Scan(&columns, &epochs); err != nil {
		return fmt.Errorf("migrations: read columns of wx_userinfo: %w", err)
	}
	if columns > 0 && epochs == 0 {
		return ErrForeignTable
	}
	return nil
}

// columnNames returns the names of a table's columns in their order, none when there is no table.
func columnNames(ctx context.Context, db database.DBTxConn, d Dialect, table string) ([]string, error) {
	query := `SELECT column_name FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position`
	if d == SQLite {
		query = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
	}
	rows, err := db.QueryContext(ctx, query, table)
	if err != nil {
		return nil, fmt.Errorf("migrations: read columns of %s: %w", table, err)
	}
	defer rows.Close() // rows.Err reports the failure
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("migrations: read columns of %s: %w", table, err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("migrations: read columns of %s: %w", table, err)
	}
	return names, nil
}
