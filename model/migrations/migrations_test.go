package migrations

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite"

	"shares/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mariaDB(t *testing.T) *sql.DB {
	return open(t, "mysql", testenv.MariaDB(t).Database(t)+"?parseTime=true")
}

func sqlite(t *testing.T) *sql.DB {
	db := open(t, "sqlite", filepath.Join(t.TempDir(), "users.db"))
	db.SetMaxOpenConns(1)
	return db
}

func eachDialect(t *testing.T, test func(t *testing.T, d Dialect, db *sql.DB)) {
	t.Run("mysql", func(t *testing.T) { test(t, MySQL, mariaDB(t)) })
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite, sqlite(t)) })
}

// state is what Pending and Version tell of a database.
type state struct {
	Pending         []string
	Current, Latest int64
}

func stateOf(t *testing.T, d Dialect, db *sql.DB) state {
	t.Helper()
	var s state
	var err error
	if s.Pending, err = Pending(t.Context(), db, d); err != nil {
		t.Fatal(err)
	}
	if s.Current, s.Latest, err = Version(t.Context(), db, d); err != nil {
		t.Fatal(err)
	}
	return s
}

// sources returns the file names of a dialect's migrations; their order is that of the versions in front.
func sources(t *testing.T, d Dialect) []string {
	t.Helper()
	entries, err := files.ReadDir(string(d))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestBothDialectsHaveTheSameVersions(t *testing.T) {
	if diff := cmp.Diff(sources(t, MySQL), sources(t, SQLite)); diff != "" {
		t.Errorf("(-mysql +sqlite):\n%s", diff)
	}
}

func TestMigrateFromNothingTwice(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		all := sources(t, d)
		latest := int64(len(all))
		if diff := cmp.Diff(state{Pending: all, Latest: latest}, stateOf(t, d, db)); diff != "" {
			t.Errorf("before (-want +got):\n%s", diff)
		}
		if fresh, err := isFresh(t.Context(), db, d); err != nil || !fresh {
			t.Errorf("asking wrote to the database: fresh %v, %v", fresh, err)
		}
		for range 2 {
			if err := Migrate(t.Context(), db, d); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(state{Current: latest, Latest: latest}, stateOf(t, d, db)); diff != "" {
				t.Errorf("after (-want +got):\n%s", diff)
			}
		}
	})
}

func TestDatabaseNewerThanTheBinary(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		if err := Migrate(t.Context(), db, d); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (999, 1)"); err != nil {
			t.Fatal(err)
		}
		latest := int64(len(sources(t, d)))
		if diff := cmp.Diff(state{Current: 999, Latest: latest}, stateOf(t, d, db)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := Migrate(t.Context(), db, d); err != nil {
			t.Errorf("an older binary must leave it alone: %v", err)
		}
	})
}

func TestMigratorsAtOnce(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		var g errgroup.Group
		for range 8 {
			g.Go(func() error { return Migrate(t.Context(), db, d) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		var applied int
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+versionTable+" WHERE version_id > 0").Scan(&applied); err != nil {
			t.Fatal(err)
		}
		if applied != len(sources(t, d)) {
			t.Errorf("%d migrations applied, want each once", applied)
		}
	})
}

func TestMigrateWaitsForTheLockUntilItsContextEnds(t *testing.T) {
	db := mariaDB(t)
	holder, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := (mysqlLock{}).SessionLock(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Migrate(ctx, db, MySQL); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another migrates: %v, want a deadline", err)
	}
	if err := (mysqlLock{}).SessionUnlock(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), db, MySQL); err != nil {
		t.Errorf("after the other is done: %v", err)
	}
}

// MySQL commits DDL by itself: a run killed right after it leaves a table that no version tells of, or a version table without rows.
func TestMigrateGoesOnAfterAKill(t *testing.T) {
	db := mariaDB(t)
	if err := Migrate(t.Context(), db, MySQL); err != nil {
		t.Fatal(err)
	}
	for _, interrupted := range []string{
		"DELETE FROM " + versionTable + " WHERE version_id > 0", "DELETE FROM " + versionTable, "DROP TABLE " + versionTable,
	} {
		if _, err := db.ExecContext(t.Context(), interrupted); err != nil {
			t.Fatal(err)
		}
		if err := Migrate(t.Context(), db, MySQL); err != nil {
			t.Errorf("after %q: %v", interrupted, err)
		}
	}
}

func TestMigrateRefusesATableOfAnotherSystem(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE wx_userinfo (id int PRIMARY KEY, openid varchar(255))"); err != nil {
			t.Fatal(err)
		}
		if err := Migrate(t.Context(), db, d); !errors.Is(err, ErrForeignTable) {
			t.Errorf("got %v, want ErrForeignTable", err)
		}
		if fresh, err := isFresh(t.Context(), db, d); err != nil || !fresh {
			t.Errorf("the refused database was changed: fresh %v, %v", fresh, err)
		}
	})
}

// A table that the takeover package is not done with is no base for migrations.
func TestMigrateRefusesATableHalfTakenOver(t *testing.T) {
	db := mariaDB(t)
	for _, query := range []string{
		"CREATE TABLE wx_userinfo (id bigint PRIMARY KEY, openid varchar(64), session_epoch bigint)", "INSERT INTO wx_userinfo VALUES (1, 'o', NULL)",
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	if err := Migrate(t.Context(), db, MySQL); !errors.Is(err, ErrForeignTable) {
		t.Errorf("got %v, want ErrForeignTable", err)
	}
}

func TestFirstColumnsAreThoseOfTheFirstMigration(t *testing.T) {
	db := mariaDB(t)
	p, err := provider(db, MySQL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	want, err := columnNames(t.Context(), db, MySQL, "wx_userinfo")
	if err != nil {
		t.Fatal(err)
	}
	columns, err := FirstColumns()
	if err != nil {
		t.Fatal(err)
	}
	var got, again []string
	for _, c := range columns {
		got = append(got, c.Name)
		again = append(again, "`"+c.Name+"` "+c.Definition)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE again ("+strings.Join(again, ", ")+", PRIMARY KEY (id))"); err != nil {
		t.Errorf("the definitions make no table: %v", err)
	}
}

func TestUnknownDialect(t *testing.T) {
	if err := Migrate(t.Context(), sqlite(t), "oracle"); err == nil {
		t.Error("taken")
	}
}

// column is what code that runs on both dialects relies on.
type column struct {
	Name     string
	Nullable bool
	Default  string // as SQL; empty for none
}

func TestBothDialectsHaveTheSameColumns(t *testing.T) {
	maria, lite := mariaDB(t), sqlite(t)
	if err := Migrate(t.Context(), maria, MySQL); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), lite, SQLite); err != nil {
		t.Fatal(err)
	}
	want := columns(t, maria, `SELECT column_name, is_nullable = 'YES', COALESCE(column_default, '') FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' ORDER BY ordinal_position`)
	got := columns(t, lite, "SELECT name, `notnull` = 0, COALESCE(dflt_value, '') FROM pragma_table_info('wx_userinfo') ORDER BY cid")
	if len(want) == 0 {
		t.Fatal("no columns")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-mysql +sqlite):\n%s", diff)
	}
	for _, c := range want {
		if c.Nullable {
			t.Errorf("%s may be NULL: the model has no place for that", c.Name)
		}
	}
}

func columns(t *testing.T, db *sql.DB, query string) (cs []column) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.Name, &c.Nullable, &c.Default); err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return cs
}

// Statements of one step are not undone together: a step of several that is cut off could not be run again.
func TestMySQLMigrationsHaveOneStatementEach(t *testing.T) {
	for _, name := range sources(t, MySQL) {
		b, err := files.ReadFile("mysql/" + name)
		if err != nil {
			t.Fatal(err)
		}
		statements := 0
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); strings.HasSuffix(line, ";") && !strings.HasPrefix(line, "--") {
				statements++
			}
		}
		if statements != 1 {
			t.Errorf("%s has %d statements", name, statements)
		}
	}
}

func TestMigrateOnAPoolOfOneConnection(t *testing.T) {
	db := mariaDB(t)
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := Migrate(ctx, db, MySQL); err != nil {
		t.Fatal(err)
	}
}
