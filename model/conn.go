package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

const (
	probeEvery = 200 * time.Millisecond
	probeLimit = 300 * time.Millisecond
	// longProbe is the limit of each fifth probe: on a slow link, a connection with TLS takes
	// more than probeLimit.
	longProbe = 700 * time.Millisecond
)

// Conn is goctl's connection with a time limit on every statement, which includes the wait for a
// free connection. Without the limit, a database that hangs would block requests until their own
// deadlines. At most three quarters of the pool's connections are used for reads, and one is left
// for probes. While the database is down, statements fail immediately. Reads and writes have
// separate gates, because a read-only primary still serves reads.
type Conn struct {
	sqlx.SqlConn
	db            *sql.DB
	limit         time.Duration
	all, readers  slots
	reads, writes *gate
	renewed       *time.Timer // ends a drop
	stop          context.CancelFunc
}

// NewConn returns a Conn for NewWxUserinfoModel. db comes from OpenMySQL or OpenSQLite. A limit of
// 0 means no limit.
func NewConn(db *sql.DB, limit time.Duration) *Conn {
	ctx, stop := context.WithCancel(context.Background())
	open := db.Stats().MaxOpenConnections
	c := &Conn{
		// sqlx's breaker must stay closed: it would refuse statements for seconds after an outage.
		SqlConn: sqlx.NewSqlConnFromDB(db, sqlx.WithAcceptable(func(error) bool { return true })),
		db:      db,
		limit:   limit,
		all:     make(slots, max(1, open-1)),
		readers: make(slots, max(1, open*3/4)),
		renewed: time.AfterFunc(time.Hour, func() { db.SetConnMaxLifetime(connLifetime) }),
		stop:    stop,
	}
	c.renewed.Stop()
	c.reads = &gate{stop: ctx, drop: c.drop,
		probe: c.probe("select `id` from `wx_userinfo` where `id` = 0")}
	// A read-only server refuses the first update, although no row has the id 0. The second one is
	// committed, which may take long while a Galera cluster lacks a node.
	c.writes = &gate{stop: ctx, drop: c.drop,
		probe: c.probe("update `wx_userinfo` set `vip` = `vip` where `id` = 0",
			"update `goose_lease` set `changes` = `changes` + 1")}
	return c
}

// probe returns a function that runs the statements. It returns an error only if the server is
// unavailable: a full server, for example, serves the open connections.
func (c *Conn) probe(statements ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, statement := range statements {
			_, err := c.db.ExecContext(ctx, statement)
			if isLost(err) || err != nil && ctx.Err() != nil {
				return err
			}
		}
		return nil
	}
}

// Close stops the probes. It does not close the database.
func (c *Conn) Close() error {
	c.stop()
	return nil
}

// drop closes idle connections now, and the others when they are returned to the pool. After a
// failover they lead to the old primary, where reads would miss new writes.
func (c *Conn) drop() {
	c.db.SetConnMaxLifetime(time.Nanosecond)
	c.renewed.Reset(c.longest())
}

// longest returns how long the server may still run a statement after the client has given up: the
// limit plus OpenMySQL's lock wait.
func (c *Conn) longest() time.Duration { return c.limit + lockWaitOf(c.limit) }

// ExecCtx implements sqlx.SqlConn, within the limit. It repeats a statement once if it has certainly
// changed nothing: after a conflict with another transaction, and on a new connection if the server
// refuses writes, like an old primary after a failover.
func (c *Conn) ExecCtx(ctx context.Context, query string, args ...any) (res sql.Result, err error) {
	err = c.within(ctx, c.writes, func(ctx context.Context) error {
		res, err = c.SqlConn.ExecCtx(ctx, query, args...)
		if isRefusing(err) {
			c.drop()
		}
		if isRefusing(err) || isConflict(err) {
			res, err = c.SqlConn.ExecCtx(ctx, query, args...)
		}
		return err
	})
	return res, err
}

// QueryRowCtx implements sqlx.SqlConn, within the limit.
func (c *Conn) QueryRowCtx(ctx context.Context, v any, query string, args ...any) error {
	return c.query(ctx, v, c.SqlConn.QueryRowCtx, query, args...)
}

// QueryRowsCtx implements sqlx.SqlConn, within the limit.
func (c *Conn) QueryRowsCtx(ctx context.Context, v any, query string, args ...any) error {
	return c.query(ctx, v, c.SqlConn.QueryRowsCtx, query, args...)
}

func (c *Conn) query(ctx context.Context, v any,
	do func(ctx context.Context, v any, query string, args ...any) error, query string, args ...any) error {
	return c.within(ctx, c.reads, func(ctx context.Context) error {
		if err := c.readers.take(ctx); err != nil {
			return err
		}
		defer c.readers.free()
		err := do(ctx, v, query, args...)
		if err != nil && strings.HasPrefix(err.Error(), "sql: Scan error") {
			return errBrokenRow // the driver's error quotes the value
		}
		return err
	})
}

// within calls do within the limit if the gate is open, and reports a failure to the gate. It
// returns errLate at the end of the limit, but context.DeadlineExceeded at the end of the caller's
// deadline.
func (c *Conn) within(ctx context.Context, g *gate, do func(context.Context) error) error {
	if c.reads.closed() || g.closed() {
		return errDown
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if c.limit > 0 {
		limited, cancel = context.WithTimeout(ctx, c.limit)
		// If the server hangs, the gate closes before the first statement ends.
		slow := time.AfterFunc(c.limit/2, c.reads.suspect)
		defer slow.Stop()
	}
	defer cancel()
	err := c.all.take(limited)
	if err == nil {
		err = do(limited)
		c.all.free()
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %v", errLate, err)
	}
	if isLost(err) {
		c.drop() // idle connections may be dead, too
	}
	if isLost(err) || errors.Is(err, errLate) {
		g.suspect()
	}
	return err
}

// slots bounds how many statements use the pool.
type slots chan struct{}

func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) free() { <-s }

// gate refuses statements of one kind, reads or writes, while its probe fails. A failed or slow
// statement does not close the gate, but starts probing, which runs outside of requests until a
// probe succeeds. So the failure of one statement does not affect others, and a database that is
// available again is used after one interval.
type gate struct {
	probe func(context.Context) error
	drop  func() // closes idle connections
	stop  context.Context

	mu      sync.Mutex
	probing bool
	down    bool
}

func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down
}

// suspect starts probing unless it is running.
func (g *gate) suspect() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.probing {
		g.probing = true
		go g.run()
	}
}

func (g *gate) run() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		if n == 2 {
			g.drop() // so that the probe dials
		}
		limit := probeLimit
		if n%5 == 0 {
			limit = longProbe
		}
		ctx, cancel := context.WithTimeout(g.stop, limit)
		failed := g.probe(ctx) != nil
		cancel()
		g.mu.Lock()
		g.down, g.probing = failed, failed
		g.mu.Unlock()
		if !failed {
			return
		}
		select {
		case <-tick.C:
		case <-g.stop.Done():
			return
		}
	}
}
