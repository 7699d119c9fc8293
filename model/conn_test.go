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
			m := NewWxUserinfoModel(NewConn(db, tt.limit), &memoryCache{}, WithLocal(nil, noShared{}))
			name := "x"
			for what, call := range map[string]func(context.Context) error{
				"find":    func(ctx context.Context) error { _, err := m.FindByOpenid(ctx, "x"); return err },
				"find id": func(ctx context.Context) error { _, err := m.FindOne(ctx, 1); return err },
				"find many": func(ctx context.Context) error {
					_, errs := findMany(ctx, m, 1, 2)
					return errors.Join(errs...)
				},
				"log in": func(ctx context.Context) error { _, _, err := m.LogIn(ctx, Login{Openid: "x"}); return err },
				"write":  func(ctx context.Context) error { return m.UpdateProfile(ctx, 1, 1, Profile{NickName: &name}) },
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

// noShared has nothing.
type noShared struct{}

func (noShared) TakeMany(ctx context.Context, keys []string, vals []any, query func(context.Context, []string, []any) []error, done func(int, error)) {
	for i, err := range query(ctx, keys, vals) {
		done(i, err)
	}
}

// findMany reads rows as a Local would have them read.
func findMany(ctx context.Context, m WxUserinfoModel, ids ...int64) ([]*WxUserinfo, []error) {
	rows, errs := make([]*WxUserinfo, len(ids)), make([]error, len(ids))
	m.(*customWxUserinfoModel).findMany(ctx, ids, func(i int, row *WxUserinfo, err error) { rows[i], errs[i] = row, err })
	return rows, errs
}

// slowLocal is a level in memory whose read has a limit of its own.
type slowLocal struct{}

func (slowLocal) Take(context.Context, int64, func(context.Context, []int64, func(int, *WxUserinfo, error))) (*WxUserinfo, error) {
	return nil, context.DeadlineExceeded
}

func TestLateReadInMemory(t *testing.T) {
	m := NewWxUserinfoModel(NewConn(new(sql.DB), 0), &memoryCache{}, WithLocal(slowLocal{}, nil))
	if _, err := m.FindOne(t.Context(), 1); !IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want one that says unavailable", err)
	}
}
