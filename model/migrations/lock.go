package migrations

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// lockName includes the database's name, because named locks are global to a MySQL server. It
// hashes the name, because a lock's name has at most 64 characters.
const lockName = "CONCAT('shares.migrate.', SHA1(DATABASE()))"

// WithLock runs f on a connection that holds the migrators' lock of the MySQL database db. It waits
// for the lock until ctx ends. MySQL releases the lock when the connection ends, so a killed
// migrator does not keep it.
func WithLock(ctx context.Context, db *sql.DB, f func(*sql.Conn) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close() // it returns to the pool
	for got := 0; got != 1; {
		// Each wait is a second, shorter than the connection's read timeout. NULL means that the
		// server ended the wait.
		err := conn.QueryRowContext(ctx, "SELECT COALESCE(GET_LOCK("+lockName+", 1), 0)").Scan(&got)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("migrations: wait for the lock: %w", err)
		}
	}
	err = f(conn)
	_, unlockErr := conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK("+lockName+")")
	if err == nil && unlockErr != nil { // a broken connection holds no lock
		return fmt.Errorf("migrations: release the lock: %w", unlockErr)
	}
	return err
}

// ErrWriteLost means that MySQL acknowledged a write that another connection does not see.
var ErrWriteLost = errors.New("migrations: a second connection does not see a written row: " +
	"a proxy overrides autocommit=1, or reads go to a replica")

// VerifyWrites writes a row of a migrated MySQL database on one connection and reads it on another.
// The row is version 0 in the version table, whose time no migration reads.
func VerifyWrites(ctx context.Context, db *sql.DB) error {
	const row = versionTable + " WHERE version_id = 0 ORDER BY id LIMIT 1"
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	var before, want, got string
	err = conn.QueryRowContext(ctx, "SELECT CAST(tstamp AS CHAR), "+
		"CAST(tstamp + INTERVAL 1 SECOND AS CHAR) FROM "+row).Scan(&before, &want)
	if err == nil {
		_, err = conn.ExecContext(ctx, "UPDATE "+versionTable+" SET tstamp = ? "+
			"WHERE version_id = 0 AND tstamp = ?", want, before)
	}
	// The connection is discarded, so that the next read uses another one, even in a pool of one.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	if err != nil {
		return fmt.Errorf("migrations: write a row: %w", err)
	}
	err = db.QueryRowContext(ctx, "SELECT CAST(tstamp AS CHAR) FROM "+row).Scan(&got)
	if err != nil {
		return fmt.Errorf("migrations: read the written row: %w", err)
	}
	if got < want { // a concurrent check may have written a later time
		return ErrWriteLost
	}
	return nil
}
