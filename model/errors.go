package model

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// errDown is returned for statements while the database is known to be down.
	errDown = errors.New("the database is down")

	// errLate is returned if the database took longer than the limit.
	errLate = errors.New("no answer in time")

	// errBrokenRow replaces the driver's error for a value of the wrong type, which quotes the
	// value.
	errBrokenRow = errors.New("the row holds a value that does not fit its column")
)

func wrap(op string, err error) error { return Wrap("model: "+op, err) }

// Wrap returns err with the operation that failed. A MySQL error can quote values of a row, such as
// an openid or a phone number. So the text holds only the error's number, unless the error is known
// to quote no values; errors.As still finds the whole error. Numbers below 1000 are errors of
// files, disk and memory.
func Wrap(op string, err error) error {
	number, _ := mysqlError(err)
	if number >= 1000 && !slices.Contains(withoutValues, number) {
		return &serverError{op: op, err: err, number: number}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// withoutValues lists errors whose texts name columns, tables and grants, but no values.
var withoutValues = []uint16{
	1005, 1044, 1045, 1049, 1071, 1091, 1114, 1118, 1142, 1205, 1213, 1227, 1290, 1709, 1832, 1833,
	1834, 1846, 3780,
}

type serverError struct {
	op     string
	err    error
	number uint16
}

func (e *serverError) Error() string { return fmt.Sprintf("%s: MySQL error %d", e.op, e.number) }
func (e *serverError) Unwrap() error { return e.err }

const (
	noSuchColumn   = 1054
	duplicateEntry = 1062
	noSuchTable    = 1146
)

var (
	// full lists the errors of a server or user without a free connection.
	full = []uint16{1040, 1203, 1226}

	// conflicts lists the errors of a lock wait and of a deadlock. A Galera cluster reports a
	// deadlock at the commit if another node has changed the row.
	conflicts = []uint16{1205, 1213}

	// refusing lists the errors of a Galera node without a quorum, the option --read-only, read-only
	// transactions and read-only servers.
	refusing = []uint16{1047, 1290, 1792, 1836}
)

// mysqlError returns the number and the SQLSTATE class of the MySQL error in err; 0 and "" for
// none.
func mysqlError(err error) (number uint16, class string) {
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return m.Number, string(m.SQLState[:2])
	}
	return 0, ""
}

func isOneOf(err error, numbers []uint16) bool {
	number, _ := mysqlError(err)
	return slices.Contains(numbers, number)
}

func isFull(err error) bool     { return isOneOf(err, full) }
func isConflict(err error) bool { return isOneOf(err, conflicts) }
func isRefusing(err error) bool { return isOneOf(err, refusing) }

// isWrong reports whether MySQL refused a statement for its data, constraints, syntax or names.
func isWrong(err error) bool {
	_, class := mysqlError(err)
	return slices.Contains([]string{"22", "23", "42"}, class) && !isFull(err)
}

// isRefused reports whether a statement has certainly changed nothing. After any other error, such
// as a lost connection or a deadline, it may have been committed.
func isRefused(err error) bool {
	return errors.Is(err, errDown) || isFull(err) || isConflict(err) || isRefusing(err) || isWrong(err)
}

// isDuplicate reports whether a write failed because a unique column already has that value.
func isDuplicate(err error) bool {
	number, _ := mysqlError(err)
	s, ok := errors.AsType[*sqlite.Error](err)
	return number == duplicateEntry || ok &&
		(s.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || s.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isLost reports whether a connection was lost or could not be made, or the server refuses to work.
// A full server still serves the open connections.
func isLost(err error) bool {
	_, class := mysqlError(err)
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || isRefusing(err) ||
		class == "08" && !isFull(err) { // from the handshake, or at a shutdown
		return true
	}
	_, ok := errors.AsType[net.Error](err)
	return ok && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// IsUnavailable reports whether err, an error of this package, means that the database is
// unavailable and the same call may succeed later. This includes a schema that is behind, because
// `shares migrate` updates it.
func IsUnavailable(err error) bool {
	if errors.Is(err, errDown) || errors.Is(err, errLate) || isLost(err) {
		return true
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		return slices.Contains([]int{
			sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
		}, s.Code()&0xff)
	}
	number, _ := mysqlError(err)
	return number == noSuchTable || number == noSuchColumn || number != 0 && !isWrong(err)
}
