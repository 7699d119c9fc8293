package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

const installMariaDB = "apt-get install mariadb-server, or brew install mariadb"

// User and password of every server made here. The user may do everything.
const (
	mariaUser     = "shares"
	mariaPassword = "shares"
)

// MariaDBServer is one mariadbd process. Its methods are safe for concurrent use.
type MariaDBServer struct {
	proc   *process
	addr   string
	dir    string
	shared bool
}

var errShared = errors.New("testenv: other tests use the shared MariaDB: take NewMariaDB to kill or pause one")

// sharedMariaDB is the one server of a test binary, started by the first test that asks for it. A server of its own per test would cost
// each half a second; a database of its own costs milliseconds.
var sharedMariaDB struct {
	sync.Mutex
	server *MariaDBServer
	err    error
}

// MariaDB returns the server that all tests of this binary share; each takes a database of its own from it. The server trades
// durability for speed and cannot be killed or paused: NewMariaDB is for that. TestMain must call Main, which ends it.
func MariaDB(t testing.TB) *MariaDBServer {
	t.Helper()
	shared := &sharedMariaDB
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = StartMariaDB(Volatile)
		if shared.err == nil {
			shared.server.shared = true
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Main runs the tests and then ends the shared MariaDB. It returns the exit code, for TestMain to give to os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	shared := &sharedMariaDB
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// NewMariaDB starts a MariaDB of the test's own, with durable settings, and ends it when the test does. When the test fails, the end of
// the server's log is added to the test's.
func NewMariaDB(t testing.TB) *MariaDBServer {
	t.Helper()
	s, err := StartMariaDB(Durable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, "mariadb", s) })
	return s
}

// Durability says what a MariaDB does before it acknowledges a commit.
type Durability bool

const (
	Durable  Durability = true  // commits are on disk: they survive a kill and a lost machine
	Volatile Durability = false // commits are in memory: fast, and lost by a kill
)

// StartMariaDB starts a MariaDB on a free loopback port with an empty data folder, and returns when it accepts connections. The first
// call on a machine also initialises a template of that folder in the user's cache, which takes some seconds. The caller closes the
// server.
//
// The server's default character set is latin1, as compiled in: a schema that forgets to name its own is found out here.
func StartMariaDB(d Durability) (*MariaDBServer, error) {
	path, err := lookPath(installMariaDB, "mariadbd", "mysqld")
	if err != nil {
		return nil, err
	}
	template, err := mariaTemplate(path)
	if err != nil {
		return nil, err
	}
	var errs []error
	for range startAttempts {
		s, err := startMariaDB(path, template, d)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func startMariaDB(path, template string, d Durability) (_ *MariaDBServer, err error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir) // the start's error is the one to report
		}
	}()

	data, initFile := filepath.Join(dir, "data"), filepath.Join(dir, "init.sql")
	if err := os.CopyFS(data, os.DirFS(template)); err != nil {
		return nil, fmt.Errorf("testenv: copy MariaDB's data folder: %w", err)
	}
	grant := fmt.Sprintf("CREATE USER IF NOT EXISTS '%[1]s'@'127.0.0.1' IDENTIFIED BY '%[2]s';\nGRANT ALL ON *.* TO '%[1]s'@'127.0.0.1' WITH GRANT OPTION;\n",
		mariaUser, mariaPassword)
	if err := os.WriteFile(initFile, []byte(grant), 0o600); err != nil {
		return nil, fmt.Errorf("testenv: write MariaDB's init file: %w", err)
	}

	args := append(mariaBaseArgs(),
		"--datadir="+data,
		"--tmpdir="+dir, // a starting server deletes temporary tables in it, also those of others
		"--init-file="+initFile,
		"--socket="+filepath.Join(dir, "s.sock"),
		"--pid-file="+filepath.Join(dir, "pid"),
		"--bind-address=127.0.0.1",
		"--port="+strconv.Itoa(port),
		"--skip-name-resolve", // so that 127.0.0.1 is not looked up, and matched, as localhost
		"--skip-log-bin",
		"--max-connections=500",
		"--innodb-buffer-pool-size=64M",
		"--performance-schema=OFF",
	)
	if d == Durable {
		args = append(args, "--innodb-flush-log-at-trx-commit=1")
	} else {
		args = append(args, "--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite")
	}
	s := &MariaDBServer{
		proc: &process{path: path, args: args, ready: fmt.Sprintf("port: %d ", port)},
		addr: fmt.Sprintf("127.0.0.1:%d", port),
		dir:  dir,
	}
	if err := s.proc.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr returns host:port. It stays the same over Kill, Stop and Start.
func (s *MariaDBServer) Addr() string { return s.addr }

// DSN returns the go-sql-driver DSN of a database on the server, which need not exist; "" is none. It sets no parameters.
func (s *MariaDBServer) DSN(database string) string {
	return s.dsn(mariaUser, database)
}

func (s *MariaDBServer) dsn(user, database string) string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = user, mariaPassword, "tcp", s.addr, database
	return cfg.FormatDSN()
}

// UserDSN returns the DSN of the database for a user who may do everything in it and nothing on the
// server, as a service's user: it cannot write while the server is read-only.
func (s *MariaDBServer) UserDSN(ctx context.Context, database string) (string, error) {
	const user = "app"
	err := s.exec(ctx, fmt.Sprintf("GRANT ALL ON `%s`.* TO '%s'@'127.0.0.1' IDENTIFIED BY '%s'", database, user, mariaPassword))
	if err != nil {
		return "", fmt.Errorf("testenv: create a user: %w", err)
	}
	return s.dsn(user, database), nil
}

// CreateDatabase makes an empty database with a name not used before and returns its name.
func (s *MariaDBServer) CreateDatabase(ctx context.Context) (string, error) {
	name := "t_" + strings.ToLower(rand.Text())
	if err := s.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("testenv: create a database: %w", err)
	}
	return name, nil
}

// Database makes an empty database for the test and returns its DSN. It goes when the test ends.
func (s *MariaDBServer) Database(t testing.TB) string {
	t.Helper()
	name, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.shared { // the data of any other server goes with it, and it may be dead by then
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // t.Context ended before cleanup
			defer cancel()
			if err := s.exec(ctx, "DROP DATABASE "+name); err != nil {
				t.Errorf("testenv: drop a database: %v", err)
			}
		})
	}
	return s.DSN(name)
}

func (s *MariaDBServer) exec(ctx context.Context, query string) (err error) {
	db, err := sql.Open("mysql", s.DSN(""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, query)
	return err
}

// Start starts the server again after Kill or Stop, on the same port and data, and returns when it accepts connections.
func (s *MariaDBServer) Start() error { return s.proc.start() }

// Kill ends the server with SIGKILL and waits until it is gone. Killing one that does not run is no error, killing the shared one is.
func (s *MariaDBServer) Kill() error {
	if s.shared {
		return errShared
	}
	return s.proc.kill()
}

// Stop ends the server with SIGTERM and waits until it is gone. Stopping one that does not run is no error, stopping the shared one is.
func (s *MariaDBServer) Stop() error {
	if s.shared {
		return errShared
	}
	return s.proc.stop()
}

// Pause freezes the server (SIGSTOP): connections are still accepted by the kernel, and nothing is answered.
func (s *MariaDBServer) Pause() error {
	if s.shared {
		return errShared
	}
	return s.proc.pause()
}

// Resume lets a paused server run on (SIGCONT).
func (s *MariaDBServer) Resume() error { return s.proc.resume() }

// Log returns the end of what the server printed since its last start, at least the last 64 KiB of it.
func (s *MariaDBServer) Log() string { return s.proc.log() }

// Close kills the server and removes its data.
func (s *MariaDBServer) Close() error {
	return errors.Join(s.proc.kill(), os.RemoveAll(s.dir))
}
