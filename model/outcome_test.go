package model

import (
	"errors"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"shares/internal/cache"
	"shares/internal/testenv"
	"shares/model/migrations"
)

// replica returns a model with its own pool and its own cache on the Redis.
func replica(t *testing.T, dsn string, redisAddr string, limit time.Duration) WxUserinfoModel {
	t.Helper()
	db := openMySQL(t, dsn)
	o := redis.UniversalOptions{Addrs: []string{redisAddr}}
	client := cache.NewClient(o, 100*time.Millisecond)
	rows := cache.New(cache.Options{Redis: client, Servers: o, Prefix: "test", Local: 1000})
	t.Cleanup(func() { _, _ = rows.Close(), client.Close() })
	return NewWxUserinfoModel(NewConn(db, limit), rows)
}

// through returns the DSN with the address replaced.
func through(t *testing.T, dsn, addr string) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Net, cfg.Addr = "tcp", addr
	return cfg.FormatDSN()
}

func address(t *testing.T, dsn string) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Addr
}

// warm reads a row until each replica keeps it in memory for long.
func warm(t *testing.T, id int64, replicas ...WxUserinfoModel) {
	t.Helper()
	end := time.Now().Add(2 * time.Second)
	for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, m := range replicas {
			if _, err := m.FindOne(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waitFor(t, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
}

// If a write is committed but its reply is lost, all replicas return the new row.
func TestCommitWithoutReply(t *testing.T) {
	dsn := testenv.MariaDB(t).Database(t)
	if err := migrations.Migrate(t.Context(), openMySQL(t, dsn), migrations.MySQL); err != nil {
		t.Fatal(err)
	}
	redisAddr := testenv.Redis(t).Addr()
	proxy := testenv.NewProxy(t, address(t, dsn))
	writer := replica(t, through(t, dsn, proxy.Addr()), redisAddr, 20*time.Second)
	reader := replica(t, dsn, redisAddr, 20*time.Second)
	for name, test := range map[string]struct {
		statement string
		write     func(*WxUserinfo) error
		done      func(*WxUserinfo, error) bool
	}{
		"profile": {"update", func(row *WxUserinfo) error {
			return writer.UpdateProfile(t.Context(), row.Id, row.SessionEpoch, Columns{"city": "new"})
		}, func(row *WxUserinfo, err error) bool { return err == nil && row.City == "new" }},
		"epoch": {"update", func(row *WxUserinfo) error {
			return writer.SetAdmin(t.Context(), row.Id, Columns{"session_epoch": int64(77)})
		}, func(row *WxUserinfo, err error) bool { return err == nil && row.SessionEpoch == 77 }},
		"delete": {"delete", func(row *WxUserinfo) error {
			return writer.Delete(t.Context(), row.Id)
		}, func(_ *WxUserinfo, err error) bool { return errors.Is(err, ErrNotFound) }},
	} {
		t.Run(name, func(t *testing.T) {
			who, _, err := reader.LogIn(t.Context(), Login{Openid: "o" + name})
			if err != nil {
				t.Fatal(err)
			}
			warm(t, who.Id, writer, reader)
			row, err := reader.FindOne(t.Context(), who.Id)
			if err != nil {
				t.Fatal(err)
			}
			lost := proxy.DropReply(test.statement)
			if err := test.write(row); err == nil {
				t.Fatal("the write was acknowledged, so the test shows nothing")
			}
			<-lost
			for role, m := range map[string]WxUserinfoModel{"writer": writer, "reader": reader} {
				from := time.Now()
				eventually(t, role+" returns the new row", func() bool {
					return test.done(m.FindOne(t.Context(), who.Id))
				})
				t.Logf("%s: after %v", role, time.Since(from))
			}
		})
	}
}

// A statement that waits for a lock continues after its client has given up, and commits later.
func TestCommitAfterTheWriterGaveUp(t *testing.T) {
	dsn := testenv.MariaDB(t).Database(t)
	db := openMySQL(t, dsn)
	if err := migrations.Migrate(t.Context(), db, migrations.MySQL); err != nil {
		t.Fatal(err)
	}
	redisAddr := testenv.Redis(t).Addr()
	reader := replica(t, dsn, redisAddr, 20*time.Second)
	writer := replica(t, dsn, redisAddr, 3*time.Second)
	who, _, err := reader.LogIn(t.Context(), Login{Openid: "oalice"})
	if err != nil {
		t.Fatal(err)
	}
	warm(t, who.Id, reader, writer)
	lock, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback() // without effect after Commit
	if _, err := lock.Exec("select id from wx_userinfo where id = ? for update", who.Id); err != nil {
		t.Fatal(err)
	}
	err = writer.UpdateProfile(t.Context(), who.Id, who.SessionEpoch, Columns{"city": "new"})
	if !IsUnavailable(err) {
		t.Fatalf("%v, want the statement's limit", err)
	}
	for _, m := range []WxUserinfoModel{reader, writer} { // they cache the old row again
		if row, err := m.FindOne(t.Context(), who.Id); err != nil || row.City != "" {
			t.Fatalf("%+v, %v, want the old row", row, err)
		}
	}
	if err := lock.Commit(); err != nil {
		t.Fatal(err)
	}
	var city string
	eventually(t, "the statement commits", func() bool {
		err := db.QueryRow("select city from wx_userinfo where id = ?", who.Id).Scan(&city)
		return err == nil && city == "new"
	})
	for _, m := range []WxUserinfoModel{reader, writer} {
		eventually(t, "the new row is read", func() bool {
			row, err := m.FindOne(t.Context(), who.Id)
			return err == nil && row.City == "new"
		})
	}
}

func TestRefusedWritesAreCertain(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"success":         {nil, false},
		"lost connection": {mysql.ErrInvalidConn, false},
		"limit":           {errLate, false},
		"duplicate":       {&mysql.MySQLError{Number: 1062, SQLState: [5]byte{'2', '3'}}, true},
		"read-only":       {&mysql.MySQLError{Number: 1290, SQLState: [5]byte{'H', 'Y'}}, true},
		"full":            {&mysql.MySQLError{Number: 1040, SQLState: [5]byte{'0', '8'}}, true},
		"certification":   {&mysql.MySQLError{Number: 1213, SQLState: [5]byte{'4', '0'}}, true},
		"down":            {errDown, true},
		"during commit":   {&mysql.MySQLError{Number: 1180, SQLState: [5]byte{'H', 'Y'}}, false},
	} {
		if got := isRefused(test.err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
