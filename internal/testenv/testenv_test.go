package testenv

import (
	"context"
	"database/sql"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestProcessSurvivesKillWithItsData(t *testing.T) {
	s := Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	c := s.Client(t)
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second does nothing
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Fatal("a killed server accepts connections")
	}
	if got := s.ExitCode(); got != -1 {
		t.Errorf("exit code %d, want -1 of a signal", got)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Fatalf("after kill and start: %q, %v", got, err)
	}
	if err := s.Start(); err == nil {
		t.Fatal("a running server started twice")
	}
}

func TestProcessPause(t *testing.T) {
	s := Redis(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Ping(short).Err(); !os.IsTimeout(err) {
		t.Fatalf("a paused server: %v, want a timeout", err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("after Resume: %v", err)
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatalf("stop of a paused server: %v", err)
	}
	if code := s.ExitCode(); code != 0 {
		t.Errorf("SIGTERM: exit code %d, want 0", code)
	}
}

func TestServerRefusesBadArguments(t *testing.T) {
	if s, err := StartRedis("--no-such-option", "1"); err == nil {
		s.Close()
		t.Fatal("started")
	}
}

func TestMariaDBGivesEachTestItsOwnDatabase(t *testing.T) {
	s := MariaDB(t)
	if s != MariaDB(t) {
		t.Fatal("the shared server was started twice")
	}
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			db, err := sql.Open("mysql", s.Database(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.ExecContext(t.Context(), "CREATE TABLE a (id int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A starting server deletes temporary tables in its tmpdir, so servers must not share one.
func TestMariaDBKeepsTemporaryTablesOfOthers(t *testing.T) {
	db, err := sql.Open("mysql", MariaDB(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "CREATE TEMPORARY TABLE a (id int) ENGINE=MyISAM"); err != nil {
		t.Fatal(err)
	}
	NewMariaDB(t)
	if _, err := db.ExecContext(t.Context(), "DROP TEMPORARY TABLE a"); err != nil {
		t.Error(err)
	}
}

func TestLookPathNamesTheInstallCommand(t *testing.T) {
	_, err := lookPath("apt-get install it", "no-such-server")
	if err == nil || err.Error() != "testenv: no-such-server is not installed: apt-get install it" {
		t.Fatalf("got %v", err)
	}
}

func TestSweepRemovesFilesOfDeadProcesses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(os.TempDir(), strings.Replace(Owned("x"), strconv.Itoa(os.Getpid()), strconv.Itoa(gone.Process.Pid), 1))
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	ours, err := tempDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("a dead process's folder is still there: %v", err)
	}
	if _, err := os.Stat(ours); err != nil {
		t.Errorf("own folder: %v", err)
	}
}
