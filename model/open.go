package model

import (
	"cmp"
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

// MySQLOptions are the limits of OpenMySQL. The zero value is good for a service.
type MySQLOptions struct {
	MaxOpen int           // connections at most, idle ones are kept; 32 if 0
	Timeout time.Duration // of each read from and write to the server; 2 s if 0. Migrations need more
	Logger  *slog.Logger  // gets what the driver has to say about broken connections
}

// connLifetime is below the usual limits of servers and proxies.
const connLifetime = 3 * time.Minute

// lockWaitOf returns how long a statement waits for a row that another transaction has locked. Its
// end must come before that of timeout: the server would go on waiting, and hold its own locks.
func lockWaitOf(timeout time.Duration) time.Duration {
	return max(timeout/2, time.Second).Truncate(time.Second)
}

// OpenMySQL returns a pool on the MySQL or MariaDB that a go-sql-driver DSN names. It does not
// connect yet. What the service relies on is set whatever the DSN says: autocommit, UTC, utf8mb4,
// strict SQL mode, timeouts, matched rows counted as affected ones.
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
	cfg.RejectReadOnly = false   // Conn.ExecCtx does more: it replaces the idle connections, too
	cfg.ClientFoundRows = true   // an update that changes nothing has found its row
	cfg.CheckConnLiveness = true
	cfg.MultiStatements, cfg.ColumnsWithAlias, cfg.AllowAllFiles = false, false, false
	cfg.Logger = driverLog{cmp.Or(o.Logger, slog.New(slog.DiscardHandler))}
	cfg.Params = sessionVariables(cfg.Params, lockWaitOf(cfg.ReadTimeout))
	if err := cfg.Apply(mysql.Charset("utf8mb4", "utf8mb4_unicode_ci")); err != nil {
		return nil, fmt.Errorf("model: set MySQL's charset: %w", err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, errors.New("model: not a usable MySQL DSN") // the driver's text may quote a part of it
	}

	db := sql.OpenDB(connector)
	maxOpen := cmp.Or(o.MaxOpen, 32)
	db.SetMaxOpenConns(maxOpen)
	db.SetMaxIdleConns(maxOpen)
	db.SetConnMaxLifetime(connLifetime)
	return db, nil
}

// sessionVariables returns params with the variables that the service relies on, whatever the DSN
// and the server's defaults say. The driver sets all of them on each new connection.
func sessionVariables(params map[string]string, lockWait time.Duration) map[string]string {
	set := map[string]string{
		"autocommit":       "1",
		"sql_select_limit": "18446744073709551615", // none
		"time_zone":        "'+00:00'",
		// Too long a value is an error, not cut off.
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

// driverLog gives the driver's messages, which name errors of the connection and no data, to a logger.
type driverLog struct{ *slog.Logger }

func (l driverLog) Print(v ...any) { l.Warn("mysql driver", "message", fmt.Sprint(v...)) }

// OpenSQLite returns a pool on the SQLite file at path, which is made if missing; its folder must
// exist. It does not open the file yet. The pool has one connection: SQLite has one writer anyway,
// and waiting in the pool is fair and cheap where waiting for SQLite's lock means sleeping and trying
// again. A commit is on disk before it is acknowledged.
func OpenSQLite(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path) // a relative path in a file: URI would be taken for a host
	if err != nil {
		return nil, fmt.Errorf("model: find the SQLite file: %w", err)
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_busy_timeout": {"5000"}, // ms; another process may be at the file: `shares user` beside `shares serve`
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_txlock":       {"immediate"}, // a transaction that reads first and then writes cannot fail half way
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
