package model

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// The one connection of the pool is taken, as all are while a database hangs.
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
		{"the caller's own time", time.Minute, 10 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewWxUserinfoModel(NewConn(db, tt.limit), &memoryCache{})
			name := "x"
			for what, call := range map[string]func(context.Context) error{
				"find":    func(ctx context.Context) error { _, err := m.FindByOpenid(ctx, "x"); return err },
				"find id": func(ctx context.Context) error { _, err := m.FindOne(ctx, 1); return err },
				"log in":  func(ctx context.Context) error { _, _, err := m.LogIn(ctx, Login{Openid: "x"}); return err },
				"write":   func(ctx context.Context) error { return m.UpdateProfile(ctx, 1, 1, Columns{"nick_name": name}) },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), tt.time)
				err := call(ctx)
				cancel()
				if late := IsUnavailable(err) && !errors.Is(err, context.DeadlineExceeded); err == nil || late != tt.late {
					t.Errorf("%s: %v, want an error that blames the database: %t", what, err, tt.late)
				}
			}
		})
	}
}

// lateCache is a cache whose own limit ends a read.
type lateCache struct{ memoryCache }

func (*lateCache) TakeCtx(context.Context, any, string, func(any) error) error {
	return context.DeadlineExceeded
}

func TestLateRead(t *testing.T) {
	m := NewWxUserinfoModel(NewConn(new(sql.DB), 0), &lateCache{})
	_, err := m.FindOne(t.Context(), 1)
	if !IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want one that says unavailable", err)
	}
}
