package model

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

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
		g.suspect()
		synctest.Wait()
		if g.closed() || probes.Load() != 1 || drops.Load() != 0 {
			t.Fatalf("after a successful probe: closed %v, %d probes, %d drops, want false, 1, 0",
				g.closed(), probes.Load(), drops.Load())
		}

		works.Store(false)
		g.suspect()
		g.suspect()
		synctest.Wait()
		if g.closed() {
			t.Error("the gate is closed before the probe fails")
		}
		time.Sleep(time.Minute)
		if !g.closed() || drops.Load() != 1 {
			t.Errorf("while the probe fails: closed %v, %d drops, want true, 1", g.closed(), drops.Load())
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
		g.suspect()
		time.Sleep(time.Second)
		end()
		time.Sleep(time.Minute) // a leaked goroutine fails the test
	})
}

// restricted returns a server, with an administrator's pool, and a model whose user cannot write
// while the server is read-only.
func restricted(t *testing.T, limit time.Duration) (*sql.DB, *testenv.MariaDBServer, WxUserinfoModel) {
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
	conn := NewConn(openMySQL(t, dsn), limit)
	t.Cleanup(func() { conn.Close() })
	return admin, s, NewWxUserinfoModel(conn, &memoryCache{})
}

// A read-only primary refuses writes but serves reads, even after many refused writes.
func TestReadOnlyPrimaryServesReads(t *testing.T) {
	admin, _, m := restricted(t, time.Minute)
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

// While the server hangs, statements wait for about one limit in total, and not for one each.
func TestHungServerCostsOneTimeout(t *testing.T) {
	_, s, m := restricted(t, 5*time.Second)
	find := func() error { _, err := m.FindByOpenid(t.Context(), "oalice"); return err }
	waitFor(t, func() error {
		if err := find(); !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	})
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- find() }()
	refused := 0
	for refused < 100 {
		select {
		case err := <-first: // a second one began before the probe failed
			if !errors.Is(err, errLate) {
				t.Fatalf("the first statement: %v, want errLate", err)
			}
			if refused == 0 {
				t.Fatal("nothing is refused although the server hangs")
			}
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := m.FindByOpenid(ctx, "oalice")
		cancel()
		if errors.Is(err, errDown) {
			refused++
		}
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() error {
		if err := find(); !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	})
}

// A server without free connections refuses new ones, but open ones are used and not dropped.
func TestFullServer(t *testing.T) {
	admin, s, m := restricted(t, time.Minute)
	who, _, err := m.LogIn(t.Context(), Login{Openid: "oalice"})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, admin, "SET GLOBAL max_connections = 10")
	var held []*sql.Conn
	others := openMySQL(t, s.DSN("mysql"))
	for range 32 { // one more is for administrators
		if conn, err := others.Conn(t.Context()); err == nil {
			held = append(held, conn)
		}
	}
	update := func() error {
		return m.UpdateProfile(t.Context(), who.Id, who.SessionEpoch, Columns{"city": "x"})
	}
	for range 20 {
		if err := update(); err != nil {
			t.Fatalf("on the open connection: %v", err)
		}
	}
	var g errgroup.Group
	for range 16 { // more than the open connections
		g.Go(func() error {
			if err := update(); err != nil && !IsUnavailable(err) {
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Errorf("without a free connection: %v, want an error that IsUnavailable", err)
	}
	for _, conn := range held {
		conn.Close()
	}
	others.Close()
	waitFor(t, update)
}

// After an outage with many refused statements, the database is used again.
func TestDatabaseIsUsedAgain(t *testing.T) {
	_, s, m := restricted(t, time.Minute)
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
