package model

import (
	"errors"
	"fmt"

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
