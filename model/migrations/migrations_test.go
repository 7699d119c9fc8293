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

	"github.com/go-sql-driver/mysql"
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
	names := sources(t, MySQL)
	if diff := gocmp.Diff(names, sources(t, SQLite)); diff != "" {
		t.Errorf("versions (-mysql +sqlite):\n%s", diff)
	}
	versions := map[string]bool{}
	for _, name := range names {
		version, _, _ := strings.Cut(name, "_")
		if versions[version] {
			t.Errorf("%s: another migration has this version", name)
		}
		versions[version] = true
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

// leased creates a database whose only migration creates the table note. If killed is not empty, a
// migrator was killed after it executed this statement of the second migration.
func leased(t *testing.T, killed string) (*sql.DB, []migration) {
	t.Helper()
	db := mariaDB(t)
	first := migration{1, "00001_note.sql",
		"CREATE TABLE note (id bigint NOT NULL PRIMARY KEY, text varchar(9) NOT NULL);\n"}
	if err := migrate(t.Context(), db, MySQL, []migration{first}); err != nil {
		t.Fatal(err)
	}
	if killed != "" {
		mustExec(t, db, killed)
		mustExec(t, db, "UPDATE "+leaseTable+" SET owner = 'killed', begun = 2")
	}
	return db, []migration{first}
}

func mustExec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// MySQL commits DDL implicitly, so a killed migrator leaves the change without its version.
func TestMigrateAfterAKill(t *testing.T) {
	const addLevel = "ALTER TABLE note ADD COLUMN level int NOT NULL DEFAULT 0"
	for name, test := range map[string]struct {
		killed    string // statement of the killed run
		statement string // empty: the same
		want      uint16 // MySQL's error; 0 for none
	}{
		"column":         {killed: addLevel},
		"two columns":    {killed: addLevel + ", ADD COLUMN later int NOT NULL DEFAULT 0"},
		"index":          {killed: "ALTER TABLE note ADD UNIQUE INDEX uk_text (text)"},
		"created index":  {killed: "CREATE INDEX text ON note (text, id)"},
		"table":          {killed: "CREATE TABLE second (id bigint NOT NULL PRIMARY KEY)"},
		"dropped column": {killed: "ALTER TABLE note DROP COLUMN text"},
		"before it":      {killed: "DO 1", statement: addLevel},
		"another error":  {killed: "DO 1", statement: addLevel + " AFTER absent", want: 1054},
		"not begun":      {statement: "ALTER TABLE note ADD COLUMN text int NOT NULL", want: 1060},
	} {
		t.Run(name, func(t *testing.T) {
			db, all := leased(t, test.killed)
			all = append(all, migration{2, "00002_next.sql", cmp.Or(test.statement, test.killed)})
			for range 2 { // a second run has the same result
				err := migrate(t.Context(), db, MySQL, all)
				var got uint16
				if m, ok := errors.AsType[*mysql.MySQLError](err); ok {
					got = m.Number
				}
				if got != test.want || err != nil && got == 0 {
					t.Errorf("got %v, want MySQL's error %d", err, test.want)
				}
			}
			versions, err := applied(t.Context(), db)
			if err != nil || versions[2] != (test.want == 0) {
				t.Errorf("versions %v, %v", versions, err)
			}
		})
	}
}

// While a migration runs, it has the lease, and its version is stored.
func TestOneMigratorHasTheLease(t *testing.T) {
	db, all := leased(t, "")
	wait := append(all, migration{2, "00002_wait.sql", "DO SLEEP(600)"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- migrate(ctx, db, MySQL, wait) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var begun int
		const query = "SELECT COUNT(*) FROM " + leaseTable +
			" WHERE begun = 2 AND expiry > UNIX_TIMESTAMP() + 600"
		err := db.QueryRowContext(t.Context(), query).Scan(&begun)
		if err == nil && begun == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the migration has no lease within a minute: %v", err)
		}
	}
	short, end := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer end()
	var out strings.Builder
	err := WithLease(short, db, &out, func(*Lease) error { return nil })
	if !errors.Is(err, errNoLease) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second migrator: %v, want errNoLease and a deadline", err)
	}
	if strings.Count(out.String(), "waiting") != 1 {
		t.Errorf("a second migrator said %q, want one line", out.String())
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the first migrator: %v, want %v", err, context.Canceled)
	}
	if err := migrate(t.Context(), db, MySQL, all); err != nil {
		t.Errorf("after it ended: %v", err)
	}
}

// After its lease has expired and another migrator has it, a migrator stops.
func TestMigratorStopsWithoutTheLease(t *testing.T) {
	db, all := leased(t, "")
	all = append(all, migration{2, "00002_expire.sql", "UPDATE " + leaseTable + " SET expiry = 0"},
		migration{3, "00003_next.sql", "CREATE TABLE second (id bigint NOT NULL PRIMARY KEY)"})
	if err := migrate(t.Context(), db, MySQL, all); !errors.Is(err, errNoLease) {
		t.Errorf("got %v, want errNoLease", err)
	}
	if _, err := db.ExecContext(t.Context(), "SELECT 1 FROM second"); err == nil {
		t.Error("the migration after the lost lease was applied")
	}
}

// Builds before 0.1.0 created the version table with another key.
func TestVersionTableOfEarlierBuilds(t *testing.T) {
	db := mariaDB(t)
	mustExec(t, db, "CREATE TABLE "+versionTable+" (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, "+
		"version_id bigint NOT NULL, is_applied boolean NOT NULL, "+
		"tstamp datetime NULL DEFAULT CURRENT_TIMESTAMP)")
	mustExec(t, db, "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (0, 1)")
	for range 2 {
		if err := Migrate(t.Context(), db, MySQL); err != nil {
			t.Fatal(err)
		}
	}
}
