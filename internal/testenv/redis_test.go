package testenv

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRedisSurvivesKillWithItsData(t *testing.T) {
	s := Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	c := s.Client(t)
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}

	addr := s.Addr()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Fatal("a killed server takes connections")
	}
	if err := s.Kill(); err != nil {
		t.Fatalf("killing twice: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr {
		t.Fatalf("address changed from %s to %s", addr, s.Addr())
	}
	if got, err := c.Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Fatalf("after kill and start: %q, %v", got, err)
	}
	if err := s.Start(); err == nil {
		t.Fatal("a running server started twice")
	}
}

func TestRedisPause(t *testing.T) {
	s := Redis(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer c.Close()
	ctx := t.Context()
	if err := c.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}

	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.Ping(short).Err(); !os.IsTimeout(err) {
		t.Fatalf("a paused server: %v, want a timeout", err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(ctx).Err(); err != nil {
		t.Fatalf("after Resume: %v", err)
	}

	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatalf("stop of a paused server: %v", err)
	}
	if err := s.Pause(); err == nil {
		t.Fatal("paused a server that does not run")
	}
}

func TestRedisRefusesBadArguments(t *testing.T) {
	if s, err := StartRedis("--no-such-option", "1"); err == nil {
		s.Close()
		t.Fatal("started")
	}
}

func TestLookPathNamesTheInstallCommand(t *testing.T) {
	_, err := lookPath("apt-get install it", "no-such-server")
	if err == nil || err.Error() != "testenv: no-such-server is not installed: apt-get install it" {
		t.Fatalf("got %v", err)
	}
}

func TestSweepRemovesWhatADeadProcessLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stale, err := os.MkdirTemp("", tempPrefix+strconv.Itoa(gone.Process.Pid)+"-")
	if err != nil {
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
