package model

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"shares/internal/testenv"
)

// The only connection of the pool is taken, as all are when a database hangs.
func TestStatementsAreBounded(t *testing.T) {
	db, err := OpenSQLite(filepath.Join(t.TempDir(), "shares.db"))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = taken.Close(), db.Close() })

	for _, tt := range []struct {
		name        string
		limit, time time.Duration // of a statement, and of the caller
		late        bool
	}{
		{"the statement's limit", 10 * time.Millisecond, time.Minute, true},
		{"the caller's deadline", time.Minute, 10 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewWxUserinfoModel(NewConn(db, tt.limit), &memoryCache{})
			name := "x"
			for what, call := range map[string]func(context.Context) error{
				"find":    func(ctx context.Context) error { _, err := m.FindByOpenid(ctx, "x"); return err },
				"find id": func(ctx context.Context) error { _, err := m.FindOne(ctx, 1); return err },
				"log in": func(ctx context.Context) error {
					_, _, err := m.LogIn(ctx, Login{Openid: "x"})
					return err
				},
				"write": func(ctx context.Context) error {
					return m.UpdateProfile(ctx, 1, 1, Columns{"nick_name": name})
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), tt.time)
				err := call(ctx)
				cancel()
				late := IsUnavailable(err) && !errors.Is(err, context.DeadlineExceeded)
				if err == nil || late != tt.late {
					t.Errorf("%s: %v, want an error of the database: %t", what, err, tt.late)
				}
			}
		})
	}
}

// At most three quarters of the pool's connections read concurrently.
func TestReadsAreBounded(t *testing.T) {
	db, err := OpenMySQL(testenv.MariaDB(t).Database(t), MySQLOptions{MaxOpen: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn := NewConn(db, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var n int
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() { _ = conn.QueryRowCtx(ctx, new(int), "SELECT SLEEP(600)") })
	}
	const query = "SELECT COUNT(*) FROM information_schema.processlist " +
		"WHERE info = 'SELECT SLEEP(600)'"
	waitFor(t, func() error {
		if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil || n < 6 {
			return fmt.Errorf("%d reads: %w", n, err)
		}
		return nil
	})
	if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil || n != 6 {
		t.Errorf("%d concurrent reads, %v, want 6", n, err)
	}
	cancel()
	readers.Wait()
}
