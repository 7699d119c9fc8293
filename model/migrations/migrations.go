// Package migrations holds the schema of the service's database, one folder of goose migrations per dialect, and applies it. Both folders
// carry the same versions and lead to the same columns; a test holds them against each other. The `shares migrate` command calls it, and
// `shares serve` for its own SQLite file; a replica at start only asks what is Pending. Its databases are those that model.OpenMySQL and
// model.OpenSQLite open, but it imports nothing of the model package, because goctl generates that package from what is made here.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed mysql/*.sql sqlite/*.sql
var files embed.FS

// Dialect is the SQL that a database speaks.
type Dialect string

const (
	MySQL  Dialect = "mysql" // MySQL 5.7 and later, and MariaDB
	SQLite Dialect = "sqlite"
)

// ErrForeignTable is returned by Migrate for a database that has a wx_userinfo table which these migrations did not make, or one whose
// takeover, by the takeover package, is unfinished.
var ErrForeignTable = errors.New("migrations: the database has a wx_userinfo table that this service did not make")

const versionTable = goose.DefaultTablename

// Migrate brings the database to the latest version. It returns nil when there is nothing to do, and an error that names the migration
// which failed; migrations before that one stay applied, and the next call goes on with it. Two callers at once do not disturb each
// other: on MySQL the second waits until the first is done or ctx ends. A migration may take long: db's read timeout must allow for it.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	p, err := provider(db, d)
	if err != nil {
		return err
	}
	if err := checkOwnTable(ctx, db, d); err != nil {
		return err
	}
	if d == MySQL {
		if err := makeVersionTable(ctx, db); err != nil {
			return err
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrations: apply: %w", err)
	}
	return nil
}

// Pending returns the file names of the migrations that the database lacks, oldest first, none when it is up to date. It only reads.
func Pending(ctx context.Context, db *sql.DB, d Dialect) ([]string, error) {
	p, err := provider(db, d)
	if err != nil {
		return nil, err
	}
	var pending []string
	fresh, err := isFresh(ctx, db, d)
	if err != nil {
		return nil, err
	}
	if fresh { // goose would make its version table now
		for _, s := range p.ListSources() {
			pending = append(pending, path.Base(s.Path))
		}
		return pending, nil
	}
	all, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrations: read status: %w", err)
	}
	for _, s := range all {
		if s.State == goose.StatePending {
			pending = append(pending, path.Base(s.Source.Path))
		}
	}
	return pending, nil
}

// Version returns the version that the database has, 0 when it was never migrated, and the latest one known to this binary. It only
// reads. A database newer than the binary is no error: migrations are additive.
func Version(ctx context.Context, db *sql.DB, d Dialect) (current, latest int64, err error) {
	p, err := provider(db, d)
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	latest = sources[len(sources)-1].Version
	fresh, err := isFresh(ctx, db, d)
	if err != nil || fresh {
		return 0, latest, err
	}
	current, err = p.GetDBVersion(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("migrations: read version: %w", err)
	}
	return current, latest, nil
}

func provider(db *sql.DB, d Dialect) (*goose.Provider, error) {
	opts := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	}
	var dialect goose.Dialect
	switch d {
	case MySQL:
		dialect = goose.DialectMySQL
		opts = append(opts, goose.WithSessionLocker(mysqlLock{}))
	case SQLite:
		dialect = goose.DialectSQLite3
	default:
		return nil, fmt.Errorf("migrations: unknown dialect %q", d)
	}
	folder, err := fs.Sub(files, string(d))
	if err != nil {
		return nil, fmt.Errorf("migrations: open folder: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, folder, opts...)
	if err != nil {
		return nil, fmt.Errorf("migrations: read files: %w", err)
	}
	return p, nil
}

// makeVersionTable does on MySQL what goose would do without the lock and in two commits: of two migrators one would find the table
// without its first row, and after a kill between the two every later one would.
func makeVersionTable(ctx context.Context, db *sql.DB) error {
	store, err := database.NewStore(goose.DialectMySQL, versionTable)
	if err != nil {
		return fmt.Errorf("migrations: make the version table: %w", err)
	}
	return WithLock(ctx, db, func(conn *sql.Conn) error { return fillVersionTable(ctx, conn, store) })
}

func fillVersionTable(ctx context.Context, conn *sql.Conn, store database.Store) error {
	columns, err := columnNames(ctx, conn, MySQL, versionTable)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		if err := store.CreateVersionTable(ctx, conn); err != nil {
			return fmt.Errorf("migrations: make the version table: %w", err)
		}
	}
	if _, err := store.GetMigration(ctx, conn, 0); err == nil {
		return nil
	} else if !errors.Is(err, database.ErrVersionNotFound) {
		return fmt.Errorf("migrations: read the version table: %w", err)
	}
	if err := store.Insert(ctx, conn, database.InsertRequest{Version: 0}); err != nil {
		return fmt.Errorf("migrations: begin the version table: %w", err)
	}
	return nil
}

// isFresh tells whether the database was never migrated.
func isFresh(ctx context.Context, db *sql.DB, d Dialect) (bool, error) {
	columns, err := columnNames(ctx, db, d, versionTable)
	return len(columns) == 0, err
}

// checkOwnTable keeps the first migration, which makes wx_userinfo only if there is none, from taking a table of another system for ours.
// In one that is being taken over, session_epoch may still be NULL.
func checkOwnTable(ctx context.Context, db *sql.DB, d Dialect) error {
	query := "SELECT column_name, is_nullable = 'NO' FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo'"
	if d == SQLite {
		query = "SELECT name, `notnull` FROM pragma_table_info('wx_userinfo')"
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("migrations: read columns of wx_userinfo: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells what matters
	there, own := false, false
	for rows.Next() {
		var name string
		var required bool
		if err := rows.Scan(&name, &required); err != nil {
			return fmt.Errorf("migrations: read columns of wx_userinfo: %w", err)
		}
		there = true
		own = own || name == "session_epoch" && required
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("migrations: read columns of wx_userinfo: %w", err)
	}
	if there && !own {
		return ErrForeignTable
	}
	return nil
}

// columnNames returns the names of a table's columns in their order, none when there is no such table.
func columnNames(ctx context.Context, db database.DBTxConn, d Dialect, table string) (names []string, err error) {
	query := "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position"
	if d == SQLite {
		query = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("migrations: read columns of %s: %w", table, err)
		}
	}()
	rows, err := db.QueryContext(ctx, query, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells what matters
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
