package model

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// wrap names the operation that failed. What MySQL says of an error can quote values of the row, an openid or a phone number among them:
// the text then holds its number only, while errors.As still finds the whole.
func wrap(op string, err error) error {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return &serverError{op: op, err: err, number: m.Number}
	}
	return fmt.Errorf("model: %s: %w", op, err)
}

type serverError struct {
	op     string
	err    error
	number uint16
}

func (e *serverError) Error() string { return fmt.Sprintf("model: %s: MySQL error %d", e.op, e.number) }
func (e *serverError) Unwrap() error { return e.err }

const (
	mysqlDuplicateEntry = 1062
	mysqlLockWait       = 1205
	mysqlDeadlock       = 1213
)

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
		errors.Is(err, driver.ErrBadConn) { // the driver's word for "not sent" and "read-only"
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
