// Package migrations holds and applies the schema of the service's database. The files have goose's
// format, one folder for each dialect and one for both, and the versions are in goose's table.
// `shares migrate` calls Migrate, and so does `shares serve` for its own SQLite file. Replicas only
// call Pending. The package must not import model, which goctl generates from this schema.
package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Dialect is a dialect of SQL.
type Dialect string

const (
	MySQL  Dialect = "mysql" // MySQL 5.7 and later, and MariaDB
	SQLite Dialect = "sqlite"
)

// ErrForeignTable is returned by Migrate if the migrations did not create the wx_userinfo table, or
// if its takeover, by the takeover package, is unfinished.
var ErrForeignTable = errors.New("migrations: the database has a wx_userinfo table " +
	"that this service did not create")

// Migrate applies all missing migrations. Its error names the failed migration; earlier ones stay
// applied, and the next call continues with the failed one. On MySQL, concurrent callers wait for
// each other until ctx ends. db's read timeout must be longer than the slowest migration.
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
	defer conn.Close() // it returns to the pool
	return applyAll(ctx, conn, d, all)
}

// Pending returns the file names of the missing migrations, oldest first. It changes nothing. A
// database newer than the binary has none, because migrations are additive.
func Pending(ctx context.Context, db *sql.DB, d Dialect) ([]string, error) {
	all, err := load(d)
	if err != nil {
		return nil, err
	}
	versions, err := applied(ctx, db)
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

// querier is a database or a connection.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// applied returns the versions in the version table, none if the table does not exist.
func applied(ctx context.Context, db querier) (map[int64]bool, error) {
	versions := map[int64]bool{}
	rows, err := db.QueryContext(ctx, "SELECT version_id FROM "+versionTable)
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok && m.Number == noSuchTable ||
		err != nil && strings.Contains(err.Error(), "no such table") { // SQLite has one code for all
		return versions, nil
	}
	if err == nil {
		defer rows.Close() // rows.Err reports the failure
		for rows.Next() && err == nil {
			var version int64
			err = rows.Scan(&version)
			versions[version] = true
		}
		err = errors.Join(err, rows.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("migrations: read the version table: %w", err)
	}
	return versions, nil
}

// checkOwnTable returns ErrForeignTable if wx_userinfo belongs to another system. The first
// migration would not notice, because it creates the table only if there is none. During a
// takeover, session_epoch is nullable.
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
