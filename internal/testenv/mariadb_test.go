package testenv

import (
	"database/sql"
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMariaDBGivesEachTestADatabaseOfItsOwn(t *testing.T) {
	s := MariaDB(t)
	if s != MariaDB(t) {
		t.Fatal("the shared server was started twice")
	}
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := open(t, s.Database(t)).ExecContext(t.Context(), "CREATE TABLE a (id int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
		})
	}
	for name, end := range map[string]func() error{"Kill": s.Kill, "Stop": s.Stop, "Pause": s.Pause} {
		if err := end(); err == nil {
			t.Errorf("%s of the shared server was allowed", name)
		}
	}
}

func TestNewMariaDBSurvivesKillWithItsData(t *testing.T) {
	s := NewMariaDB(t)
	dsn := s.Database(t)
	db := open(t, dsn)
	ctx := t.Context()
	for _, q := range []string{"CREATE TABLE a (id int PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO a VALUES (7)"} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(ctx); err == nil {
		t.Fatal("a killed server answered")
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	var id int
	if err := open(t, dsn).QueryRowContext(ctx, "SELECT id FROM a").Scan(&id); err != nil || id != 7 {
		t.Fatalf("after kill and start: %d, %v", id, err)
	}

	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dsn).PingContext(ctx); err != nil {
		t.Fatalf("after Stop and Start: %v", err)
	}
}

// A starting server deletes temporary tables in its tmpdir, which must not be another server's.
func TestMariaDBKeepsTemporaryTablesOfOthers(t *testing.T) {
	conn, err := open(t, MariaDB(t).Database(t)).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // its tables go with it
	if _, err := conn.ExecContext(t.Context(), "CREATE TEMPORARY TABLE a (id int) ENGINE=MyISAM"); err != nil {
		t.Fatal(err)
	}
	NewMariaDB(t)
	if _, err := conn.ExecContext(t.Context(), "DROP TEMPORARY TABLE a"); err != nil {
		t.Error(err)
	}
}
