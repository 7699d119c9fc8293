package model

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/stores/cache"
	"github.com/zeromicro/go-zero/core/stores/sqlx"

	"shares/internal/testenv"
	"shares/model/migrations"
)

func TestMain(m *testing.M) {
	sqlx.DisableLog()
	os.Exit(testenv.Main(m))
}

// env is a migrated database under test with its model.
type env struct {
	dialect migrations.Dialect
	db      *sql.DB
	cache   *memoryCache
	clock   *clock
	model   WxUserinfoModel
}

// onMariaDB returns an env on a MariaDB server.
func onMariaDB(t *testing.T) env {
	return newEnv(t, migrations.MySQL, openMySQL(t, testenv.MariaDB(t).Database(t)))
}

func onSQLite(t *testing.T) env {
	return newEnv(t, migrations.SQLite, openSQLite(t, filepath.Join(t.TempDir(), "users.db")))
}

// eachDatabase runs a test on MariaDB and on SQLite.
func eachDatabase(t *testing.T, test func(t *testing.T, e env)) {
	t.Run("mariadb", func(t *testing.T) { test(t, onMariaDB(t)) })
	t.Run("sqlite", func(t *testing.T) { test(t, onSQLite(t)) })
}

func newEnv(t *testing.T, d migrations.Dialect, db *sql.DB) env {
	t.Helper()
	if err := migrations.Migrate(t.Context(), db, d); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("CST", 8*3600))
	e := env{dialect: d, db: db, cache: &memoryCache{}, clock: &clock{now: now}}
	m := NewWxUserinfoModel(NewConn(db, 0), e.cache)
	m.(*customWxUserinfoModel).now = e.clock.Now
	e.model = m
	return e
}

func openMySQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := OpenMySQL(dsn, MySQLOptions{Timeout: 20 * time.Second}) // the machine may be busy
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openSQLite(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// register creates a user. It fails the test if the user exists.
func (e env) register(t *testing.T, openid string) *WxUserinfo {
	t.Helper()
	_, created, err := e.model.LogIn(t.Context(), Login{Openid: openid, Capacity: 5})
	if err != nil || !created {
		t.Fatalf("register: created %v, %v", created, err)
	}
	row, err := e.model.FindByOpenid(t.Context(), openid)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// find reads the user through the cache, as requests do.
func (e env) find(t *testing.T, id int64) *WxUserinfo {
	t.Helper()
	row, err := e.model.FindOne(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

type clock struct {
	sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.Lock()
	defer c.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.now = c.now.Add(d)
}

// memoryCache caches rows, and the absence of rows, until they are invalidated. So a write without
// an invalidation fails a test.
type memoryCache struct {
	cache.Cache // nil: the model does not call its other methods

	mu   sync.Mutex
	rows map[string][]byte // JSON; nil for a row that does not exist
}

func (c *memoryCache) TakeCtx(_ context.Context, v any, key string, query func(v any) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.rows[key]; ok {
		if b == nil {
			return sql.ErrNoRows
		}
		return json.Unmarshal(b, v)
	}
	if c.rows == nil {
		c.rows = map[string][]byte{}
	}
	err := query(v)
	if errors.Is(err, sql.ErrNoRows) {
		c.rows[key] = nil
	}
	if err != nil {
		return err
	}
	c.rows[key], err = json.Marshal(v)
	return err
}

func (c *memoryCache) DelCtx(_ context.Context, keys ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		delete(c.rows, key)
	}
	return nil
}
