package model

import (
	"cmp"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite" // the driver of OpenSQLite
)

// MySQLOptions configure OpenMySQL. The zero value suits a service.
type MySQLOptions struct {
	MaxOpen int           // most connections, kept when idle; default 32
	Timeout time.Duration // of each network read and write; default 2 s, migrations need more
	TLS     *tls.Config   // overrides the DSN's tls; nil: the DSN's
	Logger  *slog.Logger  // for the driver's messages about broken connections; default: no log
}

// connLifetime is shorter than the usual limits of servers and proxies.
const connLifetime = 3 * time.Minute

// lockWaitOf returns how long a statement waits for a locked row. It must be shorter than timeout,
// because the server keeps waiting, and keeps its own locks, after the client has given up.
func lockWaitOf(timeout time.Duration) time.Duration {
	return max(timeout/2, time.Second).Truncate(time.Second)
}

// OpenMySQL returns a pool for MySQL or MariaDB from a DSN of go-sql-driver. It does not connect.
// It overrides the DSN where the service needs certain values: autocommit, UTC, utf8mb4, strict SQL
// mode, timeouts, and matched rows that count as affected.
func OpenMySQL(dsn string, o MySQLOptions) (*sql.DB, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ParseTime, cfg.Loc = true, time.UTC
	cfg.Timeout = time.Second // of a dial
	cfg.ReadTimeout = cmp.Or(o.Timeout, 2*time.Second)
	cfg.WriteTimeout = cfg.ReadTimeout
	cfg.InterpolateParams = true // one round trip per statement instead of three
	cfg.RejectReadOnly = false   // Conn.ExecCtx handles it and also drops idle connections
	cfg.ClientFoundRows = true   // an update without a change still found its row
	cfg.CheckConnLiveness = true
	cfg.MultiStatements, cfg.ColumnsWithAlias, cfg.AllowAllFiles = false, false, false
	if o.TLS != nil {
		cfg.TLS, cfg.AllowFallbackToPlaintext = o.TLS, false
	}
	cfg.Logger = driverLog{cmp.Or(o.Logger, slog.New(slog.DiscardHandler))}
	cfg.Params = sessionVariables(cfg.Params, lockWaitOf(cfg.ReadTimeout))
	if err := cfg.Apply(mysql.Charset("utf8mb4", "utf8mb4_unicode_ci")); err != nil {
		return nil, fmt.Errorf("model: set MySQL's charset: %w", err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		// The driver's error may quote the DSN.
		return nil, errors.New("model: not a usable MySQL DSN")
	}

	db := sql.OpenDB(connector)
	maxOpen := cmp.Or(o.MaxOpen, 32)
	db.SetMaxOpenConns(maxOpen)
	db.SetMaxIdleConns(maxOpen)
	db.SetConnMaxLifetime(connLifetime)
	return db, nil
}

// sessionVariables returns params plus the variables that the service relies on, which override the
// DSN and the server's defaults. The driver sets them on each new connection.
func sessionVariables(params map[string]string, lockWait time.Duration) map[string]string {
	set := map[string]string{
		"autocommit":       "1",
		"sql_select_limit": "18446744073709551615", // none
		"time_zone":        "'+00:00'",
		// A value that is too long is an error, and is not truncated.
		"sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",

		"innodb_lock_wait_timeout": strconv.Itoa(int(lockWait.Seconds())),
	}
	for name, value := range params {
		if _, ok := set[strings.ToLower(name)]; !ok {
			set[name] = value
		}
	}
	return set
}

// driverLog logs the driver's messages, which report connection errors without data.
type driverLog struct{ *slog.Logger }

func (l driverLog) Print(v ...any) { l.Warn("mysql driver", "message", fmt.Sprint(v...)) }

// OpenSQLite returns a pool for the SQLite file at path. It does not open the file; the first
// statement creates it if it is missing. Its folder must exist. The pool has one connection,
// because SQLite has one writer, and waiting in the pool is fair and cheaper than polling SQLite's
// lock. A commit is on disk before it is acknowledged.
func OpenSQLite(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path) // a file: URI would take a relative path for a host
	if err != nil {
		return nil, fmt.Errorf("model: find the SQLite file: %w", err)
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_busy_timeout": {"5000"}, // ms; `shares user` may use the file beside `shares serve`
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_txlock":       {"immediate"}, // a write after a read must not fail on a lock
		"_time_format":  {"sqlite"},
		"_timezone":     {"UTC"},
		"_dqs":          {"0"}, // a misspelt column is an error, not a string
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("model: open SQLite: %w", err)
	}
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return db, nil
}
