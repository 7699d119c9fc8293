package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/zeromicro/go-zero/core/breaker"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

// Conn is a database as the model uses it: goctl's connection, with a limit on every statement, the wait for a free connection included.
// When a database hangs, its connections are all waiting, and without a limit whoever comes next waits behind them until the whole
// request's time is over. What takes longer is an error that IsUnavailable knows, and that the breaker counts.
type Conn struct {
	sqlx.SqlConn
	db      *sql.DB
	limit   time.Duration
	breaker breaker.Breaker
}

// NewConn returns the connection for NewWxUserinfoModel. A limit of 0 is none. Its circuit breaker opens when the database is away, and not
// when it refuses data, a second row for an openid among them.
func NewConn(db *sql.DB, limit time.Duration) *Conn {
	return &Conn{
		// Its own breaker never opens: it does not see what queryRows does, and two would take turns in refusing.
		SqlConn: sqlx.NewSqlConnFromDB(db, sqlx.WithAcceptable(func(error) bool { return true })),
		db:      db, limit: limit, breaker: breaker.NewBreaker(),
	}
}

// ExecCtx is that of sqlx.SqlConn, within the limit.
func (c *Conn) ExecCtx(ctx context.Context, query string, args ...any) (res sql.Result, err error) {
	err = c.within(ctx, func(ctx context.Context) error {
		res, err = c.SqlConn.ExecCtx(ctx, query, args...)
		return err
	})
	return res, err
}

// QueryRowCtx is that of sqlx.SqlConn, within the limit.
func (c *Conn) QueryRowCtx(ctx context.Context, v any, query string, args ...any) error {
	return c.within(ctx, func(ctx context.Context) error { return c.SqlConn.QueryRowCtx(ctx, v, query, args...) })
}

// queryRows calls each for every row of the answer. goctl's QueryRowsCtx finds out by reflection, and again for each row, which column goes
// where: that took as long as the whole of the rest.
func (c *Conn) queryRows(ctx context.Context, each func(scan func(...any) error) error, query string, args ...any) error {
	ctx, span := otel.Tracer("shares/model").Start(ctx, "sql", trace.WithSpanKind(trace.SpanKindClient)) // as goctl's calls have one
	defer span.End()
	return c.within(ctx, func(ctx context.Context) error {
		rows, err := c.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // Err says what went wrong
		for rows.Next() {
			if err := each(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// within calls do if the breaker allows it, and tells a limit of ours from the end of the caller's own time.
func (c *Conn) within(ctx context.Context, do func(context.Context) error) error {
	limited := ctx
	if c.limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, c.limit)
		defer cancel()
	}
	return late(ctx, c.breaker.DoWithAcceptableCtx(limited, func() error { return do(limited) }, isHealthy))
}

// isHealthy reports whether the outcome of a statement says nothing against the database.
func isHealthy(err error) bool {
	return err == nil || errors.Is(err, sql.ErrNoRows) || errors.Is(err, context.Canceled) || isDataError(err)
}

// errLate says that the database took longer than it may.
var errLate = errors.New("no answer in time")

// late tells a limit of ours, which says something about the database, from the end of the caller's own time: its error is no
// context.DeadlineExceeded any more.
func late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%w: %v", errLate, err)
	}
	return err
}
