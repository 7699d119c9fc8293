package testenv

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"shares/internal/testenv/testos"
)

const installMariaDB = "apt-get install mariadb-server, or brew install mariadb"

// User and password on every server. The user has all privileges.
const (
	mariaUser     = "shares"
	mariaPassword = "shares"
)

// MariaDBServer is one mariadbd process. Its methods are safe for concurrent use.
type MariaDBServer struct {
	*server
	shared bool // other tests use it, too
}

// sharedMariaDB starts the one server of a test binary on first use. A server per test would cost
// half a second each; a database per test costs milliseconds.
var sharedMariaDB = sync.OnceValues(func() (*MariaDBServer, error) {
	s, err := StartMariaDB(Volatile)
	if err == nil {
		s.shared = true
		closeShared = s.Close
	}
	return s, err
})

var closeShared = func() error { return nil }

// MariaDB returns the server that all tests of this binary share; each test creates its own
// Database. The server trades durability for speed. A test that kills or pauses a server uses
// NewMariaDB. TestMain must call Main, which stops the shared server.
func MariaDB(t testing.TB) *MariaDBServer {
	t.Helper()
	s, err := sharedMariaDB()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Main runs the tests and then stops the shared MariaDB. It returns the code for os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// NewMariaDB starts a MariaDB for this test alone, with durable settings and args for mariadbd. It
// stops when the test ends.
func NewMariaDB(t testing.TB, args ...string) *MariaDBServer {
	t.Helper()
	s, err := StartMariaDB(Durable, args...)
	if err != nil {
		t.Fatal(err)
	}
	s.closeWith(t)
	return s
}

// Durability says what a MariaDB does before it acknowledges a commit.
type Durability bool

const (
	Durable  Durability = true  // commits are on disk: they survive a kill and a lost machine
	Volatile Durability = false // commits are in memory: fast, and lost by a kill
)

// StartMariaDB starts a MariaDB on a free loopback port with an empty data folder and more
// arguments for mariadbd, and returns when
// it accepts connections. The first call on a machine takes some seconds: it creates a template of
// the folder in the user's cache. The caller closes the server.
//
// The server's default character set is MariaDB's built-in latin1, so that schemas which do not
// name their own fail in tests.
func StartMariaDB(d Durability, more ...string) (*MariaDBServer, error) {
	path, err := LookPath(installMariaDB, "mariadbd", "mysqld")
	if err != nil {
		return nil, err
	}
	template, err := mariaTemplate(path)
	if err != nil {
		return nil, err
	}
	s, err := startServer(path, func(dir, port string) ([]string, string, error) {
		data, initFile := filepath.Join(dir, "data"), filepath.Join(dir, "init.sql")
		grant := fmt.Sprintf("CREATE USER IF NOT EXISTS '%[1]s'@'127.0.0.1' IDENTIFIED BY '%[2]s';\n"+
			"GRANT ALL ON *.* TO '%[1]s'@'127.0.0.1' WITH GRANT OPTION;\n", mariaUser, mariaPassword)
		args := append(mariaBaseArgs(),
			"--datadir="+data,
			"--tmpdir="+dir, // a starting server deletes all temporary tables in it, even another server's
			"--init-file="+initFile,
			"--socket="+filepath.Join(dir, "s.sock"),
			"--pid-file="+filepath.Join(dir, "pid"),
			"--bind-address=127.0.0.1",
			"--port="+port,
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
		return append(args, more...), "port: " + port + " ", errors.Join(
			os.CopyFS(data, os.DirFS(template)), os.WriteFile(initFile, []byte(grant), 0o600))
	})
	if err != nil {
		return nil, err
	}
	return &MariaDBServer{server: s}, nil
}

// mariaBaseArgs returns the arguments that creating a data folder and running a server on it must
// share.
func mariaBaseArgs() []string {
	args := []string{
		"--no-defaults", // must be first; ignores the machine's configuration
		"--innodb-log-file-size=16M",
	}
	if os.Getuid() == 0 {
		args = append(args, "--user=root") // mariadbd runs as root only if told to
	}
	return args
}

// mariaTemplate returns an initialised data folder for the server at path, which callers must copy.
// It is created once per user and server version, because that takes seconds. A lock file keeps
// concurrent test binaries from creating it twice.
func mariaTemplate(path string) (_ string, err error) {
	version, err := exec.Command(path, "--no-defaults", "--version").Output()
	if err != nil || !strings.Contains(string(version), "MariaDB") {
		return "", fmt.Errorf("testenv: %s is not MariaDB (%s): %s: %w", path, version, installMariaDB,
			cmp.Or(err, errors.ErrUnsupported))
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(version, strings.Join(mariaBaseArgs(), " ")...))
	template := filepath.Join(cache, "mariadb-"+hex.EncodeToString(sum[:8]))

	unlock, err := testos.LockFile(template + ".lock")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Stat(template); !errors.Is(err, fs.ErrNotExist) {
		return template, err
	}
	install, err := LookPath(installMariaDB, "mariadb-install-db", "mysql_install_db")
	if err != nil {
		return "", err
	}
	unfinished := template + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", fmt.Errorf("testenv: remove an unfinished data folder: %w", err)
	}
	args := append(mariaBaseArgs(), "--datadir="+unfinished, "--tmpdir="+unfinished,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := exec.Command(install, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("testenv: %s: %w\n%s", install, err, out)
	}
	if err := os.Rename(unfinished, template); err != nil {
		return "", fmt.Errorf("testenv: keep the data folder: %w", err)
	}
	return template, nil
}

// DSN returns the go-sql-driver DSN of a database on the server, without parameters. The database
// need not exist; "" names none.
func (s *MariaDBServer) DSN(database string) string { return s.dsn(mariaUser, database) }

func (s *MariaDBServer) dsn(user, database string) string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = user, mariaPassword, "tcp", s.addr, database
	return cfg.FormatDSN()
}

// UserDSN returns the DSN of the database for a user with all privileges on it and none on the
// server. Like a service's user, it cannot write while the server is read-only.
func (s *MariaDBServer) UserDSN(ctx context.Context, database string) (string, error) {
	const user = "app"
	err := s.exec(ctx, fmt.Sprintf("GRANT ALL ON `%s`.* TO '%s'@'127.0.0.1' IDENTIFIED BY '%s'", database, user, mariaPassword))
	return s.dsn(user, database), err
}

// CreateDatabase creates an empty database with a new name and returns the name.
func (s *MariaDBServer) CreateDatabase(ctx context.Context) (string, error) {
	name := "t_" + strings.ToLower(rand.Text())
	return name, s.exec(ctx, "CREATE DATABASE "+name)
}

// Database creates an empty database for the test and returns its DSN. It is dropped when the test
// ends.
func (s *MariaDBServer) Database(t testing.TB) string {
	t.Helper()
	name, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.shared { // other servers are removed with their data, and may be dead by then
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t.Context ended before cleanup
			defer cancel()
			if err := s.exec(ctx, "DROP DATABASE "+name); err != nil {
				t.Error(err)
			}
		})
	}
	return s.DSN(name)
}

func (s *MariaDBServer) exec(ctx context.Context, query string) error {
	db, err := sql.Open("mysql", s.DSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, query); err != nil {
		verb, _, _ := strings.Cut(query, " ")
		return fmt.Errorf("testenv: %s: %w", verb, err)
	}
	return nil
}
