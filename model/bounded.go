package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

// Bounded returns conn with a limit on every statement, the wait for a free connection included: when the database hangs, its connections
// are all waiting, and without a limit whoever comes next waits behind them until the whole request's time is over. What takes longer is an
// error that IsUnavailable knows, and that the breaker counts.
func Bounded(conn sqlx.SqlConn, timeout time.Duration) sqlx.SqlConn {
	return bounded{conn, timeout}
}

// bounded limits the two calls that this package makes.
type bounded struct {
	sqlx.SqlConn
	timeout time.Duration
}

func (b bounded) ExecCtx(ctx context.Context, query string, args ...any) (sql.Result, error) {
	limited, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	res, err := b.SqlConn.ExecCtx(limited, query, args...)
	return res, late(ctx, err)
}

func (b bounded) QueryRowCtx(ctx context.Context, v any, query string, args ...any) error {
	limited, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	return late(ctx, b.SqlConn.QueryRowCtx(limited, v, query, args...))
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
