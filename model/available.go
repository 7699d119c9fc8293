package model

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IsUnavailable reports whether an error of this package says that the database cannot be reached
// or cannot work now, and not that the statement was wrong: the same call may succeed later.
func IsUnavailable(err error) bool {
	if errors.Is(err, errDown) || errors.Is(err, errLate) || isLost(err) {
		return true
	}
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch string(m.SQLState[:]) {
		case "42S02", "42S22": // no such table or column: the schema is behind, `shares migrate` brings it
			return true
		}
		switch string(m.SQLState[:2]) {
		case "22", "23", "42": // data, constraints, syntax and names
			return false
		}
		return true
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		switch s.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
			return true
		}
		return false
	}
	return false
}

// isLost reports whether a connection was lost or could not be made, or the server refused a write
// because it is read-only.
func isLost(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || isReadOnly(err) {
		return true
	}
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok { // from the handshake, or at a shutdown
		return string(m.SQLState[:2]) == "08"
	}
	_, ok := errors.AsType[net.Error](err)
	return ok && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}
