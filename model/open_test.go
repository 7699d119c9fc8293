package model

import (
	"database/sql"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/internal/testenv"
	"shares/model/migrations"
)

func TestOpenMySQLSetsWhatTheServiceReliesOn(t *testing.T) {
	dsn := testenv.MariaDB(t).Database(t)
	for name, params := range map[string]string{
		"plain": "",
		"contrary": "?parseTime=false&loc=Asia%2FShanghai&charset=latin1&collation=latin1_bin" +
			"&clientFoundRows=false&interpolateParams=false&rejectReadOnly=false" +
			"&multiStatements=true&time_zone=%27%2B08%3A00%27&sql_mode=%27%27&timeout=1h" +
			"&autocommit=0&AUTOCOMMIT=0&sql_select_limit=1&Sql_Mode=%27%27",
	} {
		t.Run(name, func(t *testing.T) {
			db := openMySQL(t, dsn+params)
			got := map[string]string{}
			rows, err := db.QueryContext(t.Context(), "SHOW VARIABLES WHERE Variable_name IN "+
				"('time_zone', 'sql_mode', 'autocommit', 'sql_select_limit', 'character_set_client', "+
				"'character_set_results', 'character_set_connection')")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var k, v string
				if err := rows.Scan(&k, &v); err != nil {
					t.Fatal(err)
				}
				got[k] = v
			}
			want := map[string]string{
				"autocommit": "ON", "sql_select_limit": "18446744073709551615",
				"time_zone": "+00:00", "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
				"character_set_client": "utf8mb4", "character_set_results": "utf8mb4",
				"character_set_connection": "utf8mb4",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := db.ExecContext(t.Context(), "SELECT 1; SELECT 2"); err == nil {
				t.Error("two statements in one were accepted")
			}
			moment := time.Unix(1, 0)
			var at time.Time
			row := db.QueryRowContext(t.Context(), "SELECT CAST(? AS datetime(3))", moment)
			if err := row.Scan(&at); err != nil || !at.Equal(moment) {
				t.Errorf("a time was read as %v, %v, want %v", at, err, moment)
			}
		})
	}
}

// A server may start its sessions with autocommit=0 and a limit on every SELECT.
func TestWritesAreKeptWhateverTheServersDefaults(t *testing.T) {
	s := testenv.NewMariaDB(t)
	dsn := s.Database(t)
	db := openMySQL(t, dsn)
	for _, set := range []string{"SET GLOBAL autocommit = 0", "SET GLOBAL sql_select_limit = 1"} {
		if _, err := db.ExecContext(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	e := newEnv(t, migrations.MySQL, openMySQL(t, dsn))
	if err := migrations.VerifyWrites(t.Context(), e.db); err != nil {
		t.Error(err)
	}
	users := map[string]int64{}
	for _, openid := range []string{"oalice", "obob"} {
		users[openid] = e.register(t, openid).Id
	}
	if diff := cmp.Diff(users, stored(t, openMySQL(t, dsn), users)); diff != "" {
		t.Errorf("users on other connections (-want +got):\n%s", diff)
	}

	raw, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if err := migrations.VerifyWrites(t.Context(), raw); !errors.Is(err, migrations.ErrWriteLost) {
		t.Errorf("connections that do not commit: %v, want ErrWriteLost", err)
	}
}

func TestOpenMySQLErrorsNameThePartAndKeepItsValue(t *testing.T) {
	const valid = "root:hunter2@tcp(db:3306)/users?"
	for dsn, want := range map[string]string{
		"":                                     "address: must be tcp(host:3306)",
		"hunter2":                              "address: must be tcp(host:3306)",
		"root:hunter2@tcp(db:3306)":            "address: must be tcp(host:3306)",
		"root:hunter2@db:3306/users":           "address: must be tcp(host:3306)",
		"root:hunter2@tcp(db:3306)/":           "database: missing name",
		"root:hunter2@tcp(db:3306)/?tls=true":  "database: missing name",
		"root:hunter2@hunter2(db)/users":       "user or address: must be user:password@tcp(host:3306)",
		"mysql://root:hunter2@tcp(db)/users":   "without a scheme",
		"mysql://root:hunter2@db:3306/users":   "without a scheme",
		valid + "parseTime=hunter2":            "parameter parseTime: must be true or false",
		valid + "tls=hunter2":                  "parameter tls: must be true, false, skip-verify",
		valid + "tls=true&loc=Asia/hunter2":    "must be a time zone with %2F for /",
		valid + "loc=hunter2":                  "parameter loc: must be a time zone",
		valid + "timeout=hunter2":              "parameter timeout: must be a duration such as 5s",
		valid + "serverPubKey=hunter2":         "parameter serverPubKey: must be left out",
		valid + "strict=hunter2":               "parameter strict: must be left out",
		valid + "hunter2=%":                    "a parameter: must be escaped",
		"root:hunter2@/users?loc=Asia/hunter2": "parameter loc: must be a time zone",
	} {
		_, err := OpenMySQL(dsn, MySQLOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", dsn, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds a value: %v", err)
		}
	}
}

// `shares user` beside `shares serve` means two pools on one file.
func TestTwoPoolsOnOneSQLiteFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.db")
	one := newEnv(t, migrations.SQLite, openSQLite(t, file))
	two := newEnv(t, migrations.SQLite, openSQLite(t, file))
	row := one.register(t, "oalice")
	var wg sync.WaitGroup
	for _, e := range []env{one, two} {
		wg.Go(func() {
			for range 50 {
				change := Columns{"city": "x"}
				err := e.model.UpdateProfile(t.Context(), row.Id, row.SessionEpoch, change)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestOpenSQLiteSettings(t *testing.T) {
	db := openSQLite(t, filepath.Join(t.TempDir(), "users.db"))
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000",
	} {
		var got string
		err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", pragma, got, err, want)
		}
	}
}

// stored returns the users that the database has, with their ids.
func stored(t *testing.T, db *sql.DB, users map[string]int64) map[string]int64 {
	t.Helper()
	got := maps.Clone(users)
	m := NewWxUserinfoModel(NewConn(db, 0), &memoryCache{})
	for openid := range users {
		row, err := m.FindByOpenid(t.Context(), openid)
		if err != nil {
			delete(got, openid)
			continue
		}
		got[openid] = row.Id
	}
	return got
}

// waitFor calls try until it returns nil, for at most a minute.
func waitFor(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
