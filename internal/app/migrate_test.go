package app

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shares/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func shares(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatalf("shares %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func settings(t testing.TB, yaml string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shares.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMigrateDryRunMakesNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := settings(t, "DataDir: "+dir)
	if said, want := shares(t, "-f", file, "migrate", "--dry-run"), "would create "+filepath.Join(dir, "shares.db")+"\n"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data folder: %v, want none", err)
	}
	shares(t, "-f", file, "migrate")
	if said, want := shares(t, "-f", file, "migrate", "--dry-run"), "the schema is up to date\n"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestMigrateTakesOverTheLegacyServicesUsers(t *testing.T) {
	dsn := testenv.MariaDB(t).Database(t)
	file := settings(t, "MySQLDSN: "+dsn)
	if said, want := shares(t, "-f", file, "migrate", "--dry-run"), "would apply 00001_wx_userinfo.sql\n"; !strings.HasPrefix(said, want) {
		t.Errorf("an empty database: said %q, want %q", said, want)
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, query := range []string{
		"CREATE TABLE wx_userinfo (id int PRIMARY KEY AUTO_INCREMENT, openid varchar(255) UNIQUE, nick_name varchar(255), avatar_url varchar(255), gender varchar(16)) CHARSET=utf8",
		"INSERT INTO wx_userinfo (openid, nick_name, gender) VALUES ('oA', '[\\\\u1f604]', '男')",
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	for _, look := range []struct {
		args []string
		said []string
	}{
		{[]string{"migrate", "--dry-run"}, []string{"1 rows get a session_epoch", "would apply 00001_wx_userinfo.sql"}},
		{[]string{"migrate"}, []string{"copy the rows", "wx_userinfo is taken over"}},
		{[]string{"migrate", "--dry-run"}, []string{"the schema is up to date"}},
	} {
		said := shares(t, append(look.args, "-f", file)...)
		for _, want := range look.said {
			if !strings.Contains(said, want) {
				t.Errorf("shares %s said\n%s\nwithout %q", strings.Join(look.args, " "), said, want)
			}
		}
	}
	var name, gender string
	if err := db.QueryRowContext(t.Context(), "SELECT HEX(nick_name), gender FROM wx_userinfo").Scan(&name, &gender); err != nil {
		t.Fatal(err)
	}
	if name != "F09F9884" || gender != "1" {
		t.Errorf("the user is %s, %s", name, gender)
	}
}
