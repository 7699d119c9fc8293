package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

// Conn is a database as the model uses it: goctl's connection, with a limit on every statement
// that includes the wait for a free connection. Without it, requests would wait behind the
// statements of a database that hangs until their own deadlines. At most three quarters of the
// pool's connections read, the rest is for writes. While a database is down, statements are refused
// at once; reads and writes are judged apart, because a primary that is read-only still serves
// reads.
type Conn struct {
	sqlx.SqlConn
	db            *sql.DB
	limit         time.Duration
	reads, writes *gate
	readers       chan struct{}
	renewed       *time.Timer // ends a drop
	close         func()
}

// NewConn returns the connection for NewWxUserinfoModel to a database of OpenMySQL or OpenSQLite. A
// limit of 0 is none.
func NewConn(db *sql.DB, limit time.Duration) *Conn {
	ctx, cancel := context.WithCancel(context.Background())
	ping := func(ctx context.Context) error { return db.PingContext(ctx) }
	write := func(ctx context.Context) error {
		// A read-only server refuses it, although no row has this id.
		_, err := db.ExecContext(ctx, "update `wx_userinfo` set `vip` = `vip` where `id` = 0")
		return err
	}
	c := &Conn{
		// sqlx's own breaker never opens: it judges by the last ten seconds.
		SqlConn: sqlx.NewSqlConnFromDB(db, sqlx.WithAcceptable(func(error) bool { return true })),
		db:      db,
		limit:   limit,
		close:   cancel,
		readers: make(chan struct{}, max(1, db.Stats().MaxOpenConnections*3/4)),
	}
	c.renewed = time.AfterFunc(time.Hour, func() { db.SetConnMaxLifetime(connLifetime) })
	c.renewed.Stop()
	c.reads = &gate{probe: ping, drop: c.drop, stop: ctx.Done()}
	c.writes = &gate{probe: write, drop: c.drop, stop: ctx.Done()}
	return c
}

// drop closes all connections: the idle ones now, those in use when they are returned. After a
// failover they lead to the old primary, from where reads would get rows of before a write.
func (c *Conn) drop() {
	c.db.SetConnMaxLifetime(time.Nanosecond)
	c.renewed.Reset(c.longest())
}

// Close ends the probes of a database that is down. It does not close the database.
func (c *Conn) Close() error {
	c.close()
	return nil
}

// ExecCtx is that of sqlx.SqlConn, within the limit. When the server is read-only, as an old
// primary is after a failover, the statement is repeated once on a new connection.
func (c *Conn) ExecCtx(ctx context.Context, query string, args ...any) (res sql.Result, err error) {
	err = c.within(ctx, c.writes, func(ctx context.Context) error {
		res, err = c.SqlConn.ExecCtx(ctx, query, args...)
		if isReadOnly(err) {
			c.drop()
			res, err = c.SqlConn.ExecCtx(ctx, query, args...)
		}
		return err
	})
	return res, err
}

// QueryRowCtx is that of sqlx.SqlConn, within the limit.
func (c *Conn) QueryRowCtx(ctx context.Context, v any, query string, args ...any) error {
	return c.within(ctx, c.reads, func(ctx context.Context) error {
		select {
		case c.readers <- struct{}{}:
			defer func() { <-c.readers }()
		case <-ctx.Done():
			return ctx.Err()
		}
		err := c.SqlConn.QueryRowCtx(ctx, v, query, args...)
		if err != nil && strings.HasPrefix(err.Error(), "sql: Scan error") {
			return errBrokenRow // the driver's error quotes the value
		}
		return err
	})
}

// longest returns how long the server may go on with a statement that this side gave up: the limit
// and the lock wait, which is half of it and at least a second.
func (c *Conn) longest() time.Duration { return c.limit + max(c.limit/2, time.Second) }

// within calls do within the limit if the gate allows it, and tells the gate of a failure.
func (c *Conn) within(ctx context.Context, g *gate, do func(context.Context) error) error {
	if err := g.allow(); err != nil {
		return err
	}
	limited := ctx
	if c.limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, c.limit)
		defer cancel()
	}
	err := late(ctx, do(limited))
	if lost := isLost(err); lost || errors.Is(err, errLate) {
		g.suspect(lost)
	}
	return err
}

// errLate says that the database took longer than it may.
var errLate = errors.New("no answer in time")

// late makes a limit of ours, which says something about the database, an errLate. The end of the
// caller's own time stays a context.DeadlineExceeded.
func late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%w: %v", errLate, err)
	}
	return err
}
