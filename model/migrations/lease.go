package migrations

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
)

// leaseTable has one row: the owner of the lease, its expiry, and the migration that began last.
// GET_LOCK locks only one node of a Galera cluster, and Galera's strict mode refuses it.
const leaseTable = "goose_lease"

// expiry is 15 minutes from now, in seconds by the server's clock: longer than a statement of
// `shares migrate` may take. After a kill, the next run waits for it.
const expiry = "UNIX_TIMESTAMP() + 900"

// Lease is the right to change the schema of a MySQL database.
type Lease struct {
	db    *sql.DB
	owner string
	begun int64 // the version of the migration that began last in an earlier run; 0 for none
}

// WithLease calls f while no other migrator of the MySQL database db has the lease. It waits for
// the lease until ctx ends, and prints on out that it waits.
func WithLease(ctx context.Context, db *sql.DB, out io.Writer, f func(*Lease) error) error {
	l := &Lease{db: db, owner: rand.Text()}
	for _, statement := range []string{
		"CREATE TABLE IF NOT EXISTS " + leaseTable + " (id tinyint NOT NULL PRIMARY KEY, " +
			"owner varchar(32) NOT NULL, expiry bigint NOT NULL, begun bigint NOT NULL, " +
			"changes bigint NOT NULL)",
		"INSERT IGNORE INTO " + leaseTable + " VALUES (1, '', 0, 0, 0)",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil && !isConflict(err) {
			return fmt.Errorf("migrations: create the lease: %w", err)
		}
	}
	for said := false; ; {
		err := l.change(ctx, "owner = ?, expiry = "+expiry+" WHERE expiry < UNIX_TIMESTAMP()", l.owner)
		if err == nil {
			break
		}
		if !errors.Is(err, errNoLease) {
			return err
		}
		if !said {
			fmt.Fprintln(out, "waiting: another `shares migrate` is running, or was killed in the "+
				"last 15 minutes")
			said = true
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
	defer func() { // if this fails, the lease expires
		_ = l.change(context.WithoutCancel(ctx), "expiry = 0 WHERE owner = ?", l.owner)
	}()
	err := db.QueryRowContext(ctx, "SELECT begun FROM "+leaseTable).Scan(&l.begun)
	if err != nil {
		return fmt.Errorf("migrations: read the lease: %w", err)
	}
	return f(l)
}

var errNoLease = errors.New("migrations: another migrator has the lease")

// change updates the lease. It returns errNoLease if the condition in set does not hold, or if
// another node of a Galera cluster changed the lease first. The row always changes, so that an
// unchanged row means a false condition.
func (l *Lease) change(ctx context.Context, set string, args ...any) error {
	res, err := l.db.ExecContext(ctx,
		"UPDATE "+leaseTable+" SET changes = changes + 1, "+set, args...)
	var n int64
	if err == nil {
		n, err = res.RowsAffected()
	}
	if isConflict(err) || err == nil && n == 0 {
		return errNoLease
	}
	if err != nil {
		return fmt.Errorf("migrations: change the lease: %w", err)
	}
	return nil
}

// Hold extends the lease, before a statement that may take long. It returns an error if the lease
// has expired.
func (l *Lease) Hold(ctx context.Context) error { return l.begin(ctx, l.begun) }

// begin is Hold, and stores the version of a migration that begins; 0 if none has.
func (l *Lease) begin(ctx context.Context, version int64) error {
	return l.change(ctx, "begun = ?, expiry = "+expiry+
		" WHERE owner = ? AND expiry >= UNIX_TIMESTAMP()", version, l.owner)
}

// apply applies a migration. If an earlier run began it and was killed before the version was
// recorded, the change may exist already.
func (l *Lease) apply(ctx context.Context, m migration) error {
	if err := l.begin(ctx, m.version); err != nil {
		return err
	}
	_, err := l.db.ExecContext(ctx, m.text)
	refusal, ok := errors.AsType[*mysql.MySQLError](err)
	switch {
	case ok && l.begun == m.version && slices.Contains(existing, refusal.Number):
		return nil
	case ok && l.begun != m.version:
		// The statement has changed nothing. A later run must not accept a change that another
		// program made.
		return errors.Join(err, l.begin(ctx, 0))
	}
	return err
}

const noSuchTable = 1146

// existing lists the errors for a table, column or index that exists, or is dropped, already.
var existing = []uint16{1050, 1060, 1061, 1091}

// isConflict reports whether another transaction prevented a change: a lock wait, a deadlock, or a
// failed certification in a Galera cluster.
func isConflict(err error) bool {
	m, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (m.Number == 1205 || m.Number == 1213)
}

// ErrWriteLost means that MySQL acknowledged a write that another connection does not see.
var ErrWriteLost = errors.New("migrations: a second connection does not see a written row: " +
	"a proxy overrides autocommit=1, or reads go to a replica")

// VerifyWrites changes the row of leaseTable in a migrated database on one connection, and reads it
// on another.
func VerifyWrites(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	const query = "SELECT changes FROM " + leaseTable
	var before, after int64
	err = conn.QueryRowContext(ctx, query).Scan(&before)
	if err == nil {
		_, err = conn.ExecContext(ctx, "UPDATE "+leaseTable+" SET changes = changes + 1")
	}
	// The connection is discarded, so that the next read uses another one, even in a pool of one.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	if err != nil {
		return fmt.Errorf("migrations: write a row: %w", err)
	}
	if err := db.QueryRowContext(ctx, query).Scan(&after); err != nil {
		return fmt.Errorf("migrations: read the written row: %w", err)
	}
	if after <= before {
		return ErrWriteLost
	}
	return nil
}
