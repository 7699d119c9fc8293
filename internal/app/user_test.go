package app

import (
	"database/sql"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"shares/internal/testenv"
	"shares/model"
)

// userWorld is a database with the users oalice and obob behind a proxy.
type userWorld struct {
	file  string // settings with the proxy's address
	proxy *testenv.Proxy
	db    *sql.DB // connected without the proxy
}

func newUserWorld(t *testing.T) userWorld {
	t.Helper()
	dsn := testenv.MariaDB(t).Database(t)
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	w := userWorld{proxy: testenv.NewProxy(t, cfg.Addr)}
	if w.db, err = sql.Open("mysql", dsn+"?clientFoundRows=true"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	cfg.Addr = w.proxy.Addr()
	w.file = dev(t, "MySQLTimeout: 20s\nMySQLDSN: "+cfg.FormatDSN()+"\nRedisAddr: "+testenv.Redis(t).Addr())
	shares(t, "-f", w.file, "migrate")
	for _, openid := range []string{"oalice", "obob"} {
		if _, err := w.db.ExecContext(t.Context(), "INSERT INTO wx_userinfo (openid, phone, session_epoch, "+
			"last_login_at, created_at, updated_at) VALUES (?, '13800138000', 7, NOW(), NOW(), NOW())", openid); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// value returns the one value of a query, empty without a row.
func (w userWorld) value(t *testing.T, query string) string {
	t.Helper()
	var got string
	if err := w.db.QueryRowContext(t.Context(), query).Scan(&got); err != nil && err != sql.ErrNoRows {
		t.Fatal(err)
	}
	return got
}

func TestUserCommandsAfterALostReply(t *testing.T) {
	w := newUserWorld(t)
	id := w.value(t, "SELECT id FROM wx_userinfo WHERE openid = 'oalice'")

	dropped := w.proxy.DropReply("`session_epoch` =")
	said := shares(t, "-f", w.file, "user", "revoke", "oalice")
	<-dropped
	if want := "revoke: user " + id + "\nrevoke: done\n"; said != want {
		t.Errorf("revoke said %q, want %q", said, want)
	}
	if got := w.value(t, "SELECT session_epoch FROM wx_userinfo WHERE openid = 'oalice'"); got == "7" {
		t.Error("revoke changed nothing")
	}
	if got := w.value(t, "SELECT session_epoch FROM wx_userinfo WHERE openid = 'obob'"); got != "7" {
		t.Error("revoke changed another user")
	}

	dropped = w.proxy.DropReply("delete from")
	said = shares(t, "-f", w.file, "user", "delete", "--yes", "oalice")
	<-dropped
	if want := "delete: user " + id + "\ndelete: done\n"; said != want {
		t.Errorf("delete said %q, want %q", said, want)
	}
	if got := w.value(t, "SELECT GROUP_CONCAT(openid) FROM wx_userinfo"); got != "obob" {
		t.Errorf("the users left are %s, want obob", got)
	}
	// By id the command can be repeated, which also invalidates rows that replicas still cache.
	shares(t, "-f", w.file, "user", "delete", "--yes", "--id", id)
	if _, err := run(t, "-f", w.file, "user", "revoke", "--id", id); err == nil || !strings.Contains(err.Error(), "no user has the id "+id) {
		t.Errorf("revoke of a deleted user: %v", err)
	}
}

func TestUserCommandsReportUnknownOutcomes(t *testing.T) {
	w := newUserWorld(t)
	id := w.value(t, "SELECT id FROM wx_userinfo WHERE openid = 'oalice'")
	w.proxy.Cut()
	_, err := run(t, "-f", w.file, "user", "delete", "--yes", "--id", id)
	if err == nil || !strings.Contains(err.Error(), "unknown whether the database stored it; repeat the command with --id "+id) {
		t.Errorf("without the database: %v", err)
	}
	w.proxy.Restore()
	shares(t, "-f", w.file, "user", "delete", "--yes", "--id", id)
	if got := w.value(t, "SELECT GROUP_CONCAT(openid) FROM wx_userinfo"); got != "obob" {
		t.Errorf("the users left are %s, want obob", got)
	}
	for _, args := range []string{"delete --yes", "revoke", "revoke oalice --id 1"} {
		_, err := run(t, append([]string{"-f", w.file, "user"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), "by the openid or by --id") {
			t.Errorf("shares user %s: %v", args, err)
		}
	}
}

// Columns added later are shown and exported without a change to the command.
func TestUserExportAndShowHaveEveryColumn(t *testing.T) {
	w := newUserWorld(t)
	for command, phone := range map[string]string{"export": "13800138000", "show": "…8000"} {
		got := map[string]any{}
		if err := json.Unmarshal([]byte(shares(t, "-f", w.file, "user", command, "oalice")), &got); err != nil {
			t.Fatal(err)
		}
		for f := range reflect.TypeFor[model.WxUserinfo]().Fields() {
			name := f.Tag.Get("db")
			if _, printed := got[name]; printed != (name != "session_epoch") {
				t.Errorf("%s: %s is printed: %v", command, name, printed)
			}
		}
		if got["phone"] != phone || got["openid"] != "oalice" {
			t.Errorf("%s: got phone %v and openid %v, want %s and oalice", command, got["phone"], got["openid"], phone)
		}
	}
}
