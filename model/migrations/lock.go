package migrations

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// lockName carries the database's name, because MySQL's named locks are of the whole server, and
// hashes it, because they are at most 64 characters.
const lockName = "CONCAT('shares.migrate.', SHA1(DATABASE()))"

// WithLock runs f on a connection of the MySQL database db that alone, of all migrators of that
// database, holds the lock. It waits for the lock until ctx ends. The lock belongs to the
// connection: a migrator that is killed holds nothing.
func WithLock(ctx context.Context, db *sql.DB, f func(*sql.Conn) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close() // it only goes back to the pool
	for got := 0; got != 1; {
		// A second each time, so that no read timeout of the connection cuts it off. NULL comes back
		// at once when the server ends the wait itself.
		err := conn.QueryRowContext(ctx, "SELECT COALESCE(GET_LOCK("+lockName+", 1), 0)").Scan(&got)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("migrations: wait for the lock: %w", err)
		}
	}
	err = f(conn)
	_, unlockErr := conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK("+lockName+")")
	if err == nil && unlockErr != nil { // a connection that broke holds no lock
		return fmt.Errorf("migrations: release the lock: %w", unlockErr)
	}
	return err
}

// ErrWriteLost says that a MySQL database acknowledged a write and did not keep it.
var ErrWriteLost = errors.New("migrations: a written row is not there on a second connection: " +
	"a proxy overrides autocommit=1, or reads go to a replica")

// VerifyWrites writes the time of version 0 in the version table of a migrated MySQL database on
// one connection, and reads it on another. No migration reads that time.
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
	// Discarding the connection makes the next read use another one, also in a pool of one.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	if err != nil {
		return fmt.Errorf("migrations: write a row: %w", err)
	}
	err = db.QueryRowContext(ctx, "SELECT CAST(tstamp AS CHAR) FROM "+row).Scan(&got)
	if err != nil {
		return fmt.Errorf("migrations: read the written row: %w", err)
	}
	if got < want { // another check may have moved it on
		return ErrWriteLost
	}
	return nil
}
