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
	longProbe = time.Second
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
	readers       chan struct{}
	reads, writes *gate
	renewed       *time.Timer // ends a drop
	stop          context.CancelFunc
}

// NewConn returns the connection for NewWxUserinfoModel to a database of OpenMySQL or OpenSQLite. A
// limit of 0 is none.
func NewConn(db *sql.DB, limit time.Duration) *Conn {
	ctx, stop := context.WithCancel(context.Background())
	c := &Conn{
		// sqlx's own breaker never opens: it judges by the last ten seconds.
		SqlConn: sqlx.NewSqlConnFromDB(db, sqlx.WithAcceptable(func(error) bool { return true })),
		db:      db,
		limit:   limit,
		readers: make(chan struct{}, max(1, db.Stats().MaxOpenConnections*3/4)),
		renewed: time.AfterFunc(time.Hour, func() { db.SetConnMaxLifetime(connLifetime) }),
		stop:    stop,
	}
	c.renewed.Stop()
	c.reads = &gate{stop: ctx, drop: c.drop, probe: db.PingContext}
	c.writes = &gate{stop: ctx, drop: c.drop, probe: func(ctx context.Context) error {
		// A read-only server refuses it, although no row has this id.
		_, err := db.ExecContext(ctx, "update `wx_userinfo` set `vip` = `vip` where `id` = 0")
		return err
	}}
	return c
}

// Close ends the probes of a database that is down. It does not close the database.
func (c *Conn) Close() error {
	c.stop()
	return nil
}

// drop closes all connections: the idle ones now, those in use when they are returned. After a
// failover they lead to the old primary, from where reads would get rows of before a write.
func (c *Conn) drop() {
	c.db.SetConnMaxLifetime(time.Nanosecond)
	c.renewed.Reset(c.longest())
}

// longest returns how long the server may go on with a statement that this side gave up: the limit
// and OpenMySQL's lock wait.
func (c *Conn) longest() time.Duration { return c.limit + lockWaitOf(c.limit) }

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

// within calls do within the limit if the gate allows it, and tells the gate of a failure. The end
// of the limit is an errLate, that of the caller's own time stays a context.DeadlineExceeded.
func (c *Conn) within(ctx context.Context, g *gate, do func(context.Context) error) error {
	if g.closed() {
		return errDown
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if c.limit > 0 {
		limited, cancel = context.WithTimeout(ctx, c.limit)
	}
	defer cancel()
	err := do(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %v", errLate, err)
	}
	if lost := isLost(err); lost || errors.Is(err, errLate) {
		g.suspect(lost)
	}
	return err
}

// gate refuses statements of one kind, reads or writes, while a probe fails. A failed statement
// only starts the probing, which goes on, outside of requests, until a probe succeeds. So one
// statement's failure refuses no other statement, and a database that works again is used again
// after one interval.
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

// suspect starts the probing unless it is under way. After a lost connection it drops the others.
func (g *gate) suspect(lost bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.probing {
		g.probing = true
		go g.run(lost)
	}
}

func (g *gate) run(lost bool) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		if lost || n == 2 {
			g.drop() // and the next probe dials: idle connections may lead nowhere after a failover
		}
		lost = false
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
