package model

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"shares/internal/testenv"
	"shares/model/migrations"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var works atomic.Bool
		var probes, drops atomic.Int32
		stop, end := context.WithCancel(t.Context())
		g := &gate{stop: stop, drop: func() { drops.Add(1) }, probe: func(ctx context.Context) error {
			probes.Add(1)
			if !works.Load() {
				<-ctx.Done() // it hangs
				return ctx.Err()
			}
			return nil
		}}
		works.Store(true)
		g.suspect(false)
		synctest.Wait()
		if g.closed() || probes.Load() != 1 || drops.Load() != 0 {
			t.Fatalf("after a successful probe: closed %v, %d probes, %d drops, want false, 1, 0",
				g.closed(), probes.Load(), drops.Load())
		}

		works.Store(false)
		g.suspect(true)
		g.suspect(true)
		synctest.Wait()
		if g.closed() || drops.Load() != 1 {
			t.Errorf("before the probe fails: closed %v, %d drops, want false, 1", g.closed(), drops.Load())
		}
		time.Sleep(time.Minute)
		if !g.closed() || drops.Load() != 2 {
			t.Errorf("while the probe fails: closed %v, %d drops, want true, 2", g.closed(), drops.Load())
		}
		works.Store(true)
		for start := time.Now(); g.closed(); time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > longProbe+probeEvery {
				t.Fatal("the gate stays closed")
			}
		}
		after := probes.Load()
		time.Sleep(time.Minute)
		if probes.Load() != after {
			t.Error("it probes although nothing fails")
		}

		works.Store(false)
		g.suspect(false)
		time.Sleep(time.Second)
		end()
		time.Sleep(time.Minute) // a leaked goroutine fails the test
	})
}

// restricted returns a server, with an administrator's pool, and a model whose user cannot write
// while the server is read-only.
func restricted(t *testing.T) (*sql.DB, *testenv.MariaDBServer, WxUserinfoModel) {
	t.Helper()
	s := testenv.NewMariaDB(t)
	admin := openMySQL(t, s.Database(t))
	if err := migrations.Migrate(t.Context(), admin, migrations.MySQL); err != nil {
		t.Fatal(err)
	}
	var database string
	if err := admin.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	dsn, err := s.UserDSN(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	conn := NewConn(openMySQL(t, dsn), time.Minute)
	t.Cleanup(func() { conn.Close() })
	return admin, s, NewWxUserinfoModel(conn, &memoryCache{})
}

// A read-only primary refuses writes but serves reads, even after many refused writes.
func TestReadOnlyPrimaryServesReads(t *testing.T) {
	admin, _, m := restricted(t)
	ctx := t.Context()
	who, _, err := m.LogIn(ctx, Login{Openid: "oalice"})
	if err != nil {
		t.Fatal(err)
	}
	write := func() error {
		return m.UpdateProfile(ctx, who.Id, who.SessionEpoch, Columns{"city": "x"})
	}
	if _, err := admin.ExecContext(ctx, "SET GLOBAL read_only = 1"); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := write(); !IsUnavailable(err) {
			t.Fatalf("a write: %v, want an error that IsUnavailable", err)
		}
		if _, err := m.FindByOpenid(ctx, "oalice"); err != nil {
			t.Fatalf("a read: %v", err)
		}
	}
	waitFor(t, func() error {
		if err := write(); !errors.Is(err, errDown) {
			return errors.New("writes are still tried")
		}
		return nil
	})
	if _, err := admin.ExecContext(ctx, "SET GLOBAL read_only = 0"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, write)
}

// After an outage with many refused statements, the database is used again.
func TestDatabaseIsUsedAgain(t *testing.T) {
	_, s, m := restricted(t)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	find := func() error {
		_, err := m.FindByOpenid(t.Context(), "oalice")
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	waitFor(t, func() error {
		if err := find(); !errors.Is(err, errDown) {
			return errors.New("reads are still tried")
		}
		return nil
	})
	for range 10_000 {
		if err := find(); !errors.Is(err, errDown) {
			t.Fatalf("got %v, want errDown", err)
		}
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, find)
	waitFor(t, func() error { _, _, err := m.LogIn(t.Context(), Login{Openid: "oalice"}); return err })
}
