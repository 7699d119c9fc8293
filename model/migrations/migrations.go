// Package migrations holds the schema of the service's database, one folder for each dialect and one
// for files that both take, in goose's format and with goose's version table. `shares migrate` calls
// Migrate, and `shares serve` for its own SQLite file; a replica only asks for Pending.
// The package imports nothing of model, because goctl generates that package from what is made here.
package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Dialect is the SQL of a database.
type Dialect string

const (
	MySQL  Dialect = "mysql" // MySQL 5.7 and later, and MariaDB
	SQLite Dialect = "sqlite"
)

// ErrForeignTable is returned by Migrate for a database whose wx_userinfo table these migrations did
// not make, or whose takeover, by the takeover package, is unfinished.
var ErrForeignTable = errors.New("migrations: the database has a wx_userinfo table " +
	"that this service did not make")

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

// Pending returns the file names of the migrations that the database lacks, oldest first. It only
// reads. A database newer than the binary is up to date, because migrations are additive.
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

// applied returns the versions in the version table, none where there is no such table.
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
