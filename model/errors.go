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
	// errDown refuses a statement while the database is known to be down.
	errDown = errors.New("the database is down")

	// errLate says that the database took longer than it may.
	errLate = errors.New("no answer in time")

	// errBrokenRow replaces the error of a value that does not fit its column, because that quotes it.
	errBrokenRow = errors.New("the row holds a value that does not fit its column")
)

func wrap(op string, err error) error { return Wrap("model: "+op, err) }

// Wrap names the operation that failed. MySQL's text of an error can quote values of a row, such as
// an openid or a phone number. Unless it is known to quote none, the error's text holds only its
// number; errors.As still finds the whole. Numbers below 1000 are those of files, disk and memory.
func Wrap(op string, err error) error {
	number, _ := mysqlError(err)
	if number >= 1000 && !slices.Contains(withoutValues, number) {
		return &serverError{op: op, err: err, number: number}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// withoutValues are errors whose texts name columns, tables and grants, and no values.
var withoutValues = []uint16{
	1005, 1044, 1045, 1049, 1071, 1091, 1114, 1118, 1142, 1205, 1213, 1227, 1290, 1709, 1832, 1833, 1834, 1846, 3780,
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
	lockWait       = 1205
	deadlock       = 1213
)

// readOnly are the option --read-only, a read-only transaction and a read-only server.
var readOnly = []uint16{1290, 1792, 1836}

// mysqlError returns the number and the class of the SQLSTATE of MySQL's error in err; 0 for none.
func mysqlError(err error) (number uint16, class string) {
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return m.Number, string(m.SQLState[:2])
	}
	return 0, ""
}

// isReadOnly reports whether a server refused a write because it is read-only.
func isReadOnly(err error) bool {
	number, _ := mysqlError(err)
	return slices.Contains(readOnly, number)
}

// isWrong reports whether MySQL refused a statement for its data, constraints, syntax or names.
func isWrong(err error) bool {
	_, class := mysqlError(err)
	return slices.Contains([]string{"22", "23", "42"}, class)
}

// isRefused reports whether it is certain that a statement has changed nothing. After any other
// error, such as a lost connection or a deadline, it may have been committed.
func isRefused(err error) bool { return errors.Is(err, errDown) || isReadOnly(err) || isWrong(err) }

// isDuplicate reports whether a write failed because a unique column has that value already.
func isDuplicate(err error) bool {
	number, _ := mysqlError(err)
	s, ok := errors.AsType[*sqlite.Error](err)
	return number == duplicateEntry || ok &&
		(s.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || s.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isLost reports whether a connection was lost or could not be made, or the server refused a write
// because it is read-only.
func isLost(err error) bool {
	_, class := mysqlError(err)
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || isReadOnly(err) ||
		class == "08" { // from the handshake, or at a shutdown
		return true
	}
	_, ok := errors.AsType[net.Error](err)
	return ok && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// IsUnavailable reports whether an error of this package says that the database cannot be reached
// or cannot work now, and not that the statement was wrong: the same call may succeed later. A
// schema that is behind counts, because `shares migrate` brings what is missing.
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
