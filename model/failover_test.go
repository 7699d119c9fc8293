package model

import (
	"database/sql"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"shares/internal/testenv"
	"shares/model/migrations"
)

// After a failover, idle connections lead to the old primary, which is read-only and has the old
// row. A read that starts after an acknowledged write must not use them.
func TestNoReadFromTheOldPrimary(t *testing.T) {
	var mu sync.Mutex
	primary, next := testenv.NewMariaDB(t), testenv.NewMariaDB(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	current := primary.Addr()
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			server, err := net.Dial("tcp", current)
			mu.Unlock()
			if err != nil {
				client.Close()
				continue
			}
			go func() { _, _ = io.Copy(server, client); server.Close() }()
			go func() { _, _ = io.Copy(client, server); client.Close() }()
		}
	}()

	const database = "shares"
	var dsn string
	for _, s := range []*testenv.MariaDBServer{next, primary} {
		mustExec(t, openMySQL(t, s.DSN("mysql")), "CREATE DATABASE "+database)
		db := openMySQL(t, s.DSN(database))
		if err := migrations.Migrate(t.Context(), db, migrations.MySQL); err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, "INSERT INTO wx_userinfo (id, openid, city, session_epoch, last_login_at, "+
			"created_at, updated_at) VALUES (1, 'oalice', 'old', 7, NOW(3), NOW(3), NOW(3))")
		if dsn, err = s.UserDSN(t.Context(), database); err != nil {
			t.Fatal(err)
		}
	}
	conn := NewConn(openMySQL(t, through(t, dsn, l.Addr().String())), 20*time.Second)
	t.Cleanup(func() { conn.Close() })
	m := NewWxUserinfoModel(conn, &memoryCache{})

	stale := func() (n int) {
		var reads sync.WaitGroup
		for range 16 {
			reads.Go(func() {
				row, err := m.FindByOpenid(t.Context(), "oalice")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("read: %v", err)
				} else if row.City == "old" {
					n++
				}
			})
		}
		reads.Wait()
		return n
	}
	if got := stale(); got != 16 {
		t.Fatalf("before the failover: %d old rows, want 16", got)
	}
	mustExec(t, openMySQL(t, primary.DSN("mysql")), "SET GLOBAL read_only = 1")
	mu.Lock()
	current = next.Addr()
	mu.Unlock()

	if err := m.UpdateProfile(t.Context(), 1, 7, Columns{"city": "new"}); err != nil {
		t.Fatalf("write: %v", err)
	}
	if got := stale(); got != 0 {
		t.Errorf("%d of 16 reads after the acknowledged write return the old row, want 0", got)
	}
}

func mustExec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
