package model

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func wrap(op string, err error) error { return Wrap("model: "+op, err) }

// Wrap names the operation that failed. MySQL's text of an error can quote values of a row, such as
// an openid or a phone number. Unless it is known to quote none, the error's text holds only its
// number; errors.As still finds the whole. Numbers below 1000 are those of files, disk and memory.
func Wrap(op string, err error) error {
	m, ok := errors.AsType[*mysql.MySQLError](err)
	if ok && m.Number >= 1000 && !slices.Contains(withoutValues, m.Number) {
		return &serverError{op: op, err: err, number: m.Number}
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
	mysqlDuplicateEntry = 1062
	mysqlLockWait       = 1205
	mysqlDeadlock       = 1213
)

// isReadOnly reports whether a server refused a write because it is read-only.
func isReadOnly(err error) bool {
	m, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && slices.Contains(readOnly, m.Number)
}

// readOnly are the option --read-only, a read-only transaction and a read-only server.
var readOnly = []uint16{1290, 1792, 1836}

// isDuplicate tells whether a write failed because a unique column has that value already.
func isDuplicate(err error) bool {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return m.Number == mysqlDuplicateEntry
	}
	var s *sqlite.Error
	return errors.As(err, &s) && (s.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || s.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isRefused reports whether it is certain that a statement has changed nothing: it was not sent, or
// the server refused it. After any other error, a lost connection or a deadline, it may have been
// committed.
func isRefused(err error) bool {
	if errors.Is(err, errDown) ||
		isReadOnly(err) ||
		errors.Is(err, driver.ErrBadConn) { // not sent
		return true
	}
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch string(m.SQLState[:2]) {
		case "22", "23", "42": // data, constraints, syntax and names
			return true
		}
		return m.Number == mysqlLockWait || m.Number == mysqlDeadlock
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// errBrokenRow replaces the error of a value that does not fit its column, because that quotes it.
var errBrokenRow = errors.New("the row holds a value that does not fit its column")
