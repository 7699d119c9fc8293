package migrations

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	gocmp "github.com/google/go-cmp/cmp"
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

func pendingOf(t *testing.T, d Dialect, db *sql.DB) []string {
	t.Helper()
	pending, err := Pending(t.Context(), db, d)
	if err != nil {
		t.Fatal(err)
	}
	return pending
}

// sources returns the file names of a dialect's migrations.
func sources(t *testing.T, d Dialect) (names []string) {
	t.Helper()
	all, err := load(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		names = append(names, m.name)
	}
	return names
}

func TestMigrateFromNothingTwice(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		db.SetMaxOpenConns(1) // one connection is enough
		if diff := gocmp.Diff(sources(t, d), pendingOf(t, d, db)); diff != "" {
			t.Errorf("before (-want +got):\n%s", diff)
		}
		if _, err := db.ExecContext(t.Context(), "SELECT 1 FROM "+versionTable); err == nil {
			t.Error("Pending created the version table")
		}
		for range 2 {
			if err := Migrate(t.Context(), db, d); err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff([]string(nil), pendingOf(t, d, db)); diff != "" {
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
		const newer = "INSERT INTO " + versionTable + " (version_id, is_applied) VALUES (9999999, 1)"
		if _, err := db.ExecContext(t.Context(), newer); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff([]string(nil), pendingOf(t, d, db)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := Migrate(t.Context(), db, d); err != nil {
			t.Errorf("Migrate on a newer database: %v", err)
		}
	})
}

func TestConcurrentMigrators(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		var g errgroup.Group
		for range 8 {
			g.Go(func() error { return Migrate(t.Context(), db, d) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		var applied int
		const query = "SELECT COUNT(*) FROM " + versionTable + " WHERE version_id > 0"
		if err := db.QueryRowContext(t.Context(), query).Scan(&applied); err != nil {
			t.Fatal(err)
		}
		if all := sources(t, d); applied != len(all) {
			t.Errorf("%d versions, want %d: each migration once", applied, len(all))
		}
	})
}

func TestMigrateWaitsForTheLockUntilItsContextEnds(t *testing.T) {
	db := mariaDB(t)
	err := WithLock(t.Context(), db, func(*sql.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return Migrate(ctx, db, MySQL)
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another migrator has the lock: %v, want a deadline", err)
	}
	if err := Migrate(t.Context(), db, MySQL); err != nil {
		t.Errorf("after the lock is released: %v", err)
	}
}

// MySQL commits DDL implicitly, so a killed run can leave a table without its version, or a version
// table without rows.
func TestMigrateContinuesAfterAKill(t *testing.T) {
	db := mariaDB(t)
	all, err := load(MySQL)
	if err != nil {
		t.Fatal(err)
	}
	first := all[:1] // its statement can be repeated
	if err := migrate(t.Context(), db, MySQL, first); err != nil {
		t.Fatal(err)
	}
	for _, interrupted := range []string{
		"DELETE FROM " + versionTable + " WHERE version_id > 0",
		"DELETE FROM " + versionTable,
		"DROP TABLE " + versionTable,
	} {
		if _, err := db.ExecContext(t.Context(), interrupted); err != nil {
			t.Fatal(err)
		}
		if err := migrate(t.Context(), db, MySQL, first); err != nil {
			t.Errorf("after %q: %v", interrupted, err)
		}
	}
}

// Migrate does not touch a table of another system, or one whose takeover is unfinished.
func TestMigrateRefusesATableThatIsNotItsOwn(t *testing.T) {
	eachDialect(t, func(t *testing.T, d Dialect, db *sql.DB) {
		for _, ddl := range []string{
			"CREATE TABLE wx_userinfo (id int PRIMARY KEY, openid varchar(255))",
			"ALTER TABLE wx_userinfo ADD COLUMN session_epoch bigint",
		} {
			if _, err := db.ExecContext(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
			if err := Migrate(t.Context(), db, d); !errors.Is(err, ErrForeignTable) {
				t.Errorf("%s: got %v, want ErrForeignTable", ddl, err)
			}
			if _, err := db.ExecContext(t.Context(), "SELECT 1 FROM "+versionTable); err == nil {
				t.Errorf("%s: the refused database was changed", ddl)
			}
		}
	})
}

func TestFirstColumnsAreThoseOfTheFirstMigration(t *testing.T) {
	db := mariaDB(t)
	all, err := load(MySQL)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), db, MySQL, all[:1]); err != nil {
		t.Fatal(err)
	}
	columns, err := FirstColumns()
	if err != nil {
		t.Fatal(err)
	}
	var again []string
	for _, c := range columns {
		again = append(again, "`"+c.Name+"` "+c.Definition)
	}
	_, err = db.ExecContext(t.Context(), "CREATE TABLE again ("+strings.Join(again, ", ")+
		", PRIMARY KEY (id)) COLLATE utf8mb4_unicode_ci")
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(columnsOf(t, db, "wx_userinfo"), columnsOf(t, db, "again")); diff != "" {
		t.Errorf("(-first migration +columns):\n%s", diff)
	}
}

// columnsOf returns the columns of a MySQL table.
func columnsOf(t *testing.T, db *sql.DB, table string) []column {
	t.Helper()
	return columns(t, db, "SELECT column_name, is_nullable = 'YES', COALESCE(column_default, '') "+
		"FROM information_schema.columns "+
		"WHERE table_schema = DATABASE() AND table_name = '"+table+"' ORDER BY ordinal_position")
}

// column has the properties on which code for both dialects relies.
type column struct {
	Name     string
	Nullable bool
	Default  string // as SQL; empty for none
}

func TestBothDialectsHaveTheSameVersionsAndColumns(t *testing.T) {
	if diff := gocmp.Diff(sources(t, MySQL), sources(t, SQLite)); diff != "" {
		t.Errorf("versions (-mysql +sqlite):\n%s", diff)
	}
	maria, lite := mariaDB(t), sqlite(t)
	if err := Migrate(t.Context(), maria, MySQL); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), lite, SQLite); err != nil {
		t.Fatal(err)
	}
	want := columnsOf(t, maria, "wx_userinfo")
	got := columns(t, lite, "SELECT name, `notnull` = 0, COALESCE(dflt_value, '') "+
		"FROM pragma_table_info('wx_userinfo') ORDER BY cid")
	if len(want) == 0 {
		t.Fatal("no columns")
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-mysql +sqlite):\n%s", diff)
	}
	for _, c := range want {
		if c.Nullable {
			t.Errorf("column %s is nullable, but the model cannot store NULL", c.Name)
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

func TestParse(t *testing.T) {
	const up, add = "-- +goose Up\n", "ALTER TABLE t ADD c decimal(4,2) DEFAULT 1 COMMENT 'a;b, c'"
	for text, want := range map[string]string{
		"-- +goose NO TRANSACTION\n" + up + "-- why\nDO 1;\n": "DO 1",
		up + "DO 1;\n-- +goose Down\nDO 2;\n":                 "DO 1",

		up + add + ";\n":      add,
		up + "DO 1;\nDO 2;\n": "error: 2 statements, want 1 in each file",
		up + "\n":             "error: 0 statements, want 1 in each file",
		"DO 1;\n":             "error: the line `-- +goose Up` is missing",

		up + "ALTER TABLE t ADD a int,\n  ADD b int;\n": "error: ALTER TABLE with 2 actions, " +
			"want 1 in each file",
	} {
		m, err := parse("both/00002_t.sql", text)
		got := m.statement
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if _, err := parse("mysql/later.sql", "-- +goose Up\nDO 1;\n"); err == nil {
		t.Error("a file without a version was accepted")
	}
}

// A migrator that is killed after a statement leaves the change and the row in begunTable, but no
// version.
func TestMigrateAfterAKillBetweenTheStatementAndItsVersion(t *testing.T) {
	const addLevel = "ALTER TABLE note ADD COLUMN level int NOT NULL DEFAULT 0"
	for name, test := range map[string]struct {
		before    string // prepares the table
		statement string
		there     string // makes the change that Migrate finds; empty: statement
		notBegun  bool
		want      string // part of the error, empty for none
	}{
		"column": {statement: addLevel},
		"quoted column": {statement: "ALTER TABLE `note` ADD COLUMN `level` varchar(16) NOT NULL " +
			"DEFAULT '' COMMENT 'x' AFTER `id`"},
		"index":         {statement: "ALTER TABLE note ADD UNIQUE INDEX uk_text (text)"},
		"created index": {statement: "CREATE INDEX text ON note (text, id)"},
		"table": {statement: "CREATE TABLE second (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, " +
			"t varchar(9) NOT NULL)"},
		"dropped column": {statement: "ALTER TABLE note DROP COLUMN text"},
		"dropped index": {
			before:    "CREATE INDEX text ON note (text)",
			statement: "ALTER TABLE note DROP INDEX text",
		},
		"another type": {
			statement: addLevel, there: "ALTER TABLE note ADD COLUMN level bigint NOT NULL DEFAULT 0",
			want: "it has [\"`level` bigint",
		},
		"nullable": {
			statement: addLevel, there: "ALTER TABLE note ADD COLUMN level int DEFAULT 0",
			want: "want [\"`level` int",
		},
		"another default": {
			statement: addLevel, there: "ALTER TABLE note ADD COLUMN level int NOT NULL DEFAULT 5",
			want: "DEFAULT 5",
		},
		"another index": {
			statement: "CREATE INDEX text ON note (text)",
			there:     "CREATE INDEX text ON note (text, id)", want: "differs from the statement",
		},
		"another table": {
			statement: "CREATE TABLE second (id bigint NOT NULL PRIMARY KEY)",
			there:     "CREATE TABLE second (id int NOT NULL PRIMARY KEY)",
			want:      "differs from the statement",
		},
		"made by another program": {statement: addLevel, notBegun: true, want: "Error 1060"},
		"another error": {
			statement: addLevel + " AFTER absent", there: "DO 1", want: "Error 1054",
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := mariaDB(t)
			table := migration{1, "00001_note.sql",
				"CREATE TABLE note (id bigint NOT NULL PRIMARY KEY, text varchar(9) NOT NULL)"}
			next := migration{2, "00002_next.sql", test.statement}
			if err := migrate(t.Context(), db, MySQL, []migration{table}); err != nil {
				t.Fatal(err)
			}
			found := []string{test.before, cmp.Or(test.there, test.statement)}
			if !test.notBegun {
				found = append(found, "INSERT INTO "+begunTable+" VALUES (2)")
			}
			for _, query := range found {
				if query == "" {
					continue
				}
				if _, err := db.ExecContext(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // a second run has the same result
				err := migrate(t.Context(), db, MySQL, []migration{table, next})
				if test.want == "" && err != nil {
					t.Fatal(err)
				}
				if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("got %v, want an error with %s", err, test.want)
				}
			}
			var applied, begun int
			query := "SELECT (SELECT COUNT(*) FROM " + versionTable + " WHERE version_id = 2), " +
				"(SELECT COUNT(*) FROM " + begunTable + ")"
			if err := db.QueryRowContext(t.Context(), query).Scan(&applied, &begun); err != nil {
				t.Fatal(err)
			}
			if done := test.want == ""; (applied == 1) != done || done && begun != 0 {
				t.Errorf("%d versions and %d begun rows", applied, begun)
			}
		})
	}
}

// After a kill during a statement, the migration is in begunTable but has no version.
func TestBegunRowIsCommittedBeforeTheStatement(t *testing.T) {
	db := mariaDB(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := []migration{{1, "00001_wait.sql", "DO SLEEP(600)"}}
	done := make(chan error, 1)
	go func() { done <- migrate(ctx, db, MySQL, next) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var begun int
		const query = "SELECT COUNT(*) FROM " + begunTable + " WHERE version_id = 1"
		err := db.QueryRowContext(t.Context(), query).Scan(&begun)
		if err == nil && begun == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no row in begunTable within a minute: %v", err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	var begun int
	err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+begunTable).Scan(&begun)
	if err != nil || begun != 1 {
		t.Errorf("%d rows in begunTable after the kill, %v, want 1", begun, err)
	}
}
