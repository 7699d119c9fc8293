package migrations

import (
	"context"
	"database/sql"
	"fmt"
)

// WithLock runs f on a connection of the MySQL database db that alone, of all migrators of that database, holds the lock. It waits for
// the lock until ctx ends. The connection is f's until it returns.
func WithLock(ctx context.Context, db *sql.DB, f func(*sql.Conn) error) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close() // it is broken then, and what broke it is told already
	if err := (mysqlLock{}).SessionLock(ctx, conn); err != nil {
		return err
	}
	defer func() {
		// A connection that broke meanwhile holds no lock.
		if unlockErr := (mysqlLock{}).SessionUnlock(context.WithoutCancel(ctx), conn); err == nil {
			err = unlockErr
		}
	}()
	return f(conn)
}

// mysqlLock is a goose SessionLocker on MySQL's named locks. They belong to the connection: a migrator that is killed holds nothing. The
// name carries the database's, since named locks are of the whole server, and is hashed, since they are at most 64 characters.
type mysqlLock struct{}

const lockName = "CONCAT('shares.migrate.', SHA1(DATABASE()))"

// SessionLock waits for the lock until ctx ends. It asks again every second instead of once for long, so that no read timeout of the
// connection cuts it off.
func (mysqlLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK("+lockName+", 1)").Scan(&got); err != nil {
			return fmt.Errorf("migrations: wait for the lock: %w", err)
		}
		if got.Int64 == 1 {
			return nil
		}
		if err := ctx.Err(); err != nil { // NULL comes back at once when the server ends the wait itself
			return fmt.Errorf("migrations: wait for the lock: %w", err)
		}
	}
}

func (mysqlLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	var released sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT RELEASE_LOCK("+lockName+")").Scan(&released); err != nil {
		return fmt.Errorf("migrations: release the lock: %w", err)
	}
	return nil
}
