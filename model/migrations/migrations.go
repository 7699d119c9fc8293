// Package migrations holds and applies the schema of the service's database: one folder of SQL
// files for each dialect and one for both. `shares migrate` calls Migrate, and so does `shares
// serve` for its own SQLite file. Replicas only call Pending. The package must not import model,
// which goctl generates from this schema.
package migrations

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Dialect is a dialect of SQL.
type Dialect string

const (
	MySQL  Dialect = "mysql" // MySQL 5.7 and later, and MariaDB
	SQLite Dialect = "sqlite"
)

// ErrForeignTable is returned by Migrate if the migrations did not create the wx_userinfo table.
// The takeover package converts the legacy service's.
var ErrForeignTable = errors.New("migrations: the database has a wx_userinfo table " +
	"that this service did not create")

// files has a folder for each dialect, and both for files that all dialects accept.
//
//go:embed mysql sqlite both
var files embed.FS

// First is the first migration for MySQL, which creates wx_userinfo.
//
//go:embed mysql/00001_wx_userinfo.sql
var First string

// migration is one file. MySQL commits DDL implicitly, so its files have one statement each.
type migration struct {
	version int64
	name    string // of the file
	text    string
}

// load returns the migrations of a dialect, ordered by version.
func load(d Dialect) ([]migration, error) {
	var all []migration
	for _, folder := range []string{string(d), "both"} {
		entries, err := files.ReadDir(folder)
		if err != nil {
			return nil, fmt.Errorf("migrations: unknown dialect: %w", err)
		}
		for _, entry := range entries {
			m := migration{name: entry.Name()}
			if !strings.HasSuffix(m.name, ".sql") {
				continue
			}
			text, err := files.ReadFile(folder + "/" + m.name)
			if err == nil {
				_, err = fmt.Sscanf(m.name, "%d_", &m.version)
			}
			if err != nil {
				return nil, fmt.Errorf("migrations: %s must be named like 00002_phone.sql: %w", m.name, err)
			}
			m.text = string(text)
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	return all, nil
}

// Migrate applies all missing migrations. Its error names the failed migration. On MySQL, earlier
// ones stay applied, the next call continues with the failed one, and concurrent callers wait for
// each other until ctx ends. db's read timeout must be longer than the slowest migration.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	all, err := load(d)
	if err != nil {
		return err
	}
	return migrate(ctx, db, d, all)
}

func migrate(ctx context.Context, db *sql.DB, d Dialect, all []migration) error {
	if err := CheckTable(ctx, db, d); err != nil {
		return err
	}
	if d == MySQL {
		return WithLease(ctx, db, io.Discard, func(l *Lease) error {
			return applyAll(ctx, db, all, l.apply)
		})
	}
	tx, err := db.BeginTx(ctx, nil) // SQLite can roll back DDL
	if err != nil {
		return fmt.Errorf("migrations: begin: %w", err)
	}
	defer tx.Rollback() // without effect after Commit
	err = applyAll(ctx, tx, all, func(ctx context.Context, m migration) error {
		_, err := tx.ExecContext(ctx, m.text)
		return err
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}

// versionTable has the name of goose's version table, which earlier builds created.
const versionTable = "goose_db_version"

// database is a database or a transaction.
type database interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// applyAll calls apply for the missing migrations, and records their versions.
func applyAll(
	ctx context.Context, db database, all []migration, apply func(context.Context, migration) error,
) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+versionTable+
		" (version_id bigint NOT NULL PRIMARY KEY, is_applied boolean NOT NULL, "+
		"tstamp datetime NULL DEFAULT CURRENT_TIMESTAMP)")
	if err != nil {
		return fmt.Errorf("migrations: create the version table: %w", err)
	}
	versions, err := applied(ctx, db)
	if err != nil {
		return err
	}
	for _, m := range all {
		if versions[m.version] {
			continue
		}
		err := apply(ctx, m)
		if err == nil {
			_, err = db.ExecContext(ctx,
				"INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (?, 1)", m.version)
		}
		if err != nil {
			return fmt.Errorf("migrations: apply %s: %w", m.name, err)
		}
	}
	return nil
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

// applied returns the versions in the version table, none if the table does not exist.
func applied(ctx context.Context, db database) (map[int64]bool, error) {
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

// CheckTable returns ErrForeignTable if wx_userinfo belongs to another system. The first
// migration would not notice, because it creates the table only if there is none.
func CheckTable(ctx context.Context, db *sql.DB, d Dialect) error {
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
