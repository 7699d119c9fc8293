package main

import (
	"context"
	"errors"
	"time"
)

// withoutWrites is what is served by the database, while it takes no writes.
var withoutWrites = []kind{read, renew, check, code, newCode, picture}

// readOnly makes the primary read-only, as a failover or a full disk does, and flushes Redis all the
// while: reads are cold.
func readOnly(ctx context.Context, w *world, _ *report) (time.Time, error) {
	c := w.redisClient()
	defer c.Close()
	if _, err := w.db.ExecContext(ctx, "SET GLOBAL read_only = 1"); err != nil {
		return time.Time{}, err
	}
	var errs []error
	for end := time.Now().Add(lasting); time.Now().Before(end) && len(errs) == 0; {
		if err := errors.Join(c.FlushAll(ctx).Err(), pause(ctx, steady/2)); err != nil {
			errs = append(errs, err)
		}
	}
	_, err := w.db.ExecContext(ctx, "SET GLOBAL read_only = 0")
	return time.Now(), errors.Join(append(errs, err)...)
}

// rpcHangs stops a user service for longer than a call may take. Reads are repeated on the other
// one; the rest may be answered 504.
func rpcHangs(ctx context.Context, w *world, _ *report) (time.Time, error) {
	s := user(w)
	err := errors.Join(s.pause(), pause(ctx, 2*lasting), s.resume())
	return time.Now(), err
}
