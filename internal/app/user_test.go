package app

import (
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"shares/internal/pictures"
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

// Deletion and sweep leave the avatars of other users and young ones, also under names and URLs of
// earlier versions.
func TestAvatarsWithoutAUser(t *testing.T) {
	w := newUserWorld(t)
	bucket := t.TempDir()
	file := w.file
	appendTo(t, file, "\nQRCodeBucket: "+bucket+"\n")
	id, err := strconv.ParseInt(w.value(t, "SELECT id FROM wx_userinfo WHERE openid = 'oalice'"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	old := func(digit string) string { return "avatar/" + strings.Repeat(digit, 64) + ".jpg" }
	alice, former := pictures.NewAvatarName(id, "oalice", ".jpg"), pictures.NewAvatarName(id, "oalice", ".jpg")
	bob, gone, young := pictures.NewAvatarName(id+1, "obob", ".png"), pictures.NewAvatarName(9, "ogone", ".png"), pictures.NewAvatarName(9, "ogone", ".png")
	store := func(name string, age time.Duration) {
		path := filepath.Join(bucket, filepath.FromSlash(name))
		then := time.Now().Add(-age)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("picture"), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{alice, former, bob, gone, old("0"), old("1"), "qrcode/a.jpg"} {
		store(name, 25*time.Hour)
	}
	store(young, 23*time.Hour)
	set := func(openid, avatar string) {
		if _, err := w.db.ExecContext(t.Context(), "UPDATE wx_userinfo SET avatar_url = ? WHERE openid = ?", avatar, openid); err != nil {
			t.Fatal(err)
		}
	}
	left := func(want ...string) {
		t.Helper()
		var got []string
		for _, dir := range []string{"avatar/*.jpg", "avatar/*/*", "qrcode/*"} {
			found, err := filepath.Glob(filepath.Join(bucket, dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range found {
				if info, err := os.Stat(path); err == nil && !info.IsDir() {
					name, _ := filepath.Rel(bucket, path)
					got = append(got, filepath.ToSlash(name))
				}
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the bucket has (-want +got):\n%s", diff)
		}
	}

	set("oalice", alice)
	set("obob", "https://before.example.com/shares/images/"+old("0"))
	shares(t, "-f", file, "user", "delete", "--yes", "oalice")
	left(bob, gone, young, old("0"), old("1"), "qrcode/a.jpg")

	said := shares(t, "-f", file, "user", "sweep")
	for _, name := range []string{bob, gone, old("1")} {
		if !strings.Contains(said, name+"\n") {
			t.Errorf("sweep lists %q, want also %s", said, name)
		}
	}
	if !strings.HasSuffix(said, "sweep: 3 avatars without a user, removed: false\n") {
		t.Errorf("sweep said %q", said)
	}
	left(bob, gone, young, old("0"), old("1"), "qrcode/a.jpg")
	set("obob", bob)
	if said := shares(t, "-f", file, "user", "sweep", "--yes"); !strings.HasSuffix(said, "sweep: 3 avatars without a user, removed: true\n") {
		t.Errorf("sweep --yes said %q", said)
	}
	left(bob, young, "qrcode/a.jpg")
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	before, err := os.ReadFile(file)
	if err = errors.Join(err, os.WriteFile(file, append(before, text...), 0o600)); err != nil {
		t.Fatal(err)
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
