package model

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"shares/internal/testenv"
	"shares/model/migrations"
)

func TestLogIn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		ctx := t.Context()
		const openid = "oAbCdEfGhIjKlMnOpQrStUvWxYz1"
		if _, err := e.model.FindByOpenid(ctx, openid); !errors.Is(err, ErrNotFound) {
			t.Fatalf("before: %v, want ErrNotFound", err)
		}
		logIn := func(in Login) (Registered, bool) {
			t.Helper()
			in.Openid = openid
			who, created, err := e.model.LogIn(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			return who, created
		}
		stored := func(what string, want WxUserinfo) {
			t.Helper()
			got, err := e.model.FindByOpenid(ctx, openid)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}

		first, created := logIn(Login{Unionid: "u1", Capacity: 7})
		if !created {
			t.Error("the first login created no user")
		}
		wantFirst := Registered{
			Id: 1, Openid: openid, Unionid: "u1", SessionEpoch: first.SessionEpoch,
		}
		if diff := cmp.Diff(wantFirst, first); diff != "" {
			t.Errorf("first login (-want +got):\n%s", diff)
		}
		if first.SessionEpoch == 0 {
			t.Error("the new row has no session epoch")
		}
		at := time.Date(2026, 1, 1, 19, 4, 5, 678_000_000, time.UTC)
		want := WxUserinfo{
			Id: 1, Openid: openid, Unionid: "u1", Rg: 1, Capacity: 7, SessionEpoch: first.SessionEpoch,
			LastLoginAt: at, CreatedAt: at, UpdatedAt: at,
		}
		stored("first login", want)

		cached := e.find(t, first.Id)
		e.clock.advance(time.Hour)
		want.LastLoginAt = want.LastLoginAt.Add(time.Hour)
		again, created := logIn(Login{Unionid: "u2", Capacity: 9})
		if created || again != first {
			t.Errorf("second login: created %v, %+v, want %+v", created, again, first)
		}
		stored("second login", want)
		if diff := cmp.Diff(cached, e.find(t, first.Id)); diff != "" {
			t.Errorf("a login invalidated the cached row (-want +got):\n%s", diff)
		}

		e.clock.advance(time.Hour)
		want.LastLoginAt = want.LastLoginAt.Add(time.Hour)
		for _, unionid := range []string{"", "u1"} {
			if again, _ := logIn(Login{Unionid: unionid, Refresh: true}); again != first {
				t.Errorf("refreshed with nothing new: %+v, want %+v", again, first)
			}
		}
		stored("refreshed with nothing new", want)

		e.clock.advance(time.Hour)
		want.Unionid, want.LastLoginAt = "u2", want.LastLoginAt.Add(time.Hour)
		want.UpdatedAt = want.UpdatedAt.Add(3 * time.Hour)
		logIn(Login{Unionid: "u2", Refresh: true})
		stored("refreshed", want)
		if got := e.find(t, first.Id).Unionid; got != "u2" {
			t.Errorf("refreshed: the cached row has unionid %q, want u2", got)
		}
	})
}

// First logins of one openid race in two processes, and create one row.
func TestFirstLoginsRace(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		other := NewWxUserinfoModel(NewConn(e.db, 0), e.cache)
		for round := range 10 {
			openid := fmt.Sprintf("oNew%d", round)
			const racers = 8
			who, created := make([]Registered, racers), make([]bool, racers)
			var g errgroup.Group
			models := []WxUserinfoModel{e.model, other}
			for i := range racers {
				g.Go(func() (err error) {
					in := Login{Openid: openid, Unionid: "u", Capacity: 3}
					who[i], created[i], err = models[i%2].LogIn(t.Context(), in)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			row, err := e.model.FindByOpenid(t.Context(), openid)
			if err != nil {
				t.Fatal(err)
			}
			inserts := 0
			want := Registered{
				Id: row.Id, Openid: openid, Unionid: "u", SessionEpoch: row.SessionEpoch,
			}
			for i := range who {
				if who[i] != want {
					t.Errorf("a login got %+v, the row is %+v", who[i], row)
				}
				if created[i] {
					inserts++
				}
			}
			if inserts != 1 {
				t.Errorf("%d logins created the user, want 1", inserts)
			}
		}
	})
}

// A login repeats once after a lock conflict. An open transaction of an operator does not affect
// other users.
func TestLogInWithALockedRow(t *testing.T) {
	db, err := OpenMySQL(testenv.MariaDB(t).Database(t), MySQLOptions{Timeout: 6 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	e := newEnv(t, migrations.MySQL, db)
	locked, other := e.register(t, "oLocked"), e.register(t, "oOther")
	tx, err := e.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	const update = "UPDATE wx_userinfo SET vip = 1 WHERE id = ?"
	if _, err := tx.ExecContext(t.Context(), update, locked.Id); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, _, err := e.model.LogIn(t.Context(), Login{Openid: locked.Openid}); !IsUnavailable(err) {
		t.Errorf("the locked user: %v, want an error that IsUnavailable", err)
	}
	if took := time.Since(start); took < 6*time.Second {
		t.Errorf("gave up after %s, want two lock waits of 3 s", took)
	}
	for _, openid := range []string{other.Openid, "oNew"} {
		if _, _, err := e.model.LogIn(t.Context(), Login{Openid: openid}); err != nil {
			t.Errorf("%s: %v", openid, err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.model.LogIn(t.Context(), Login{Openid: locked.Openid}); err != nil {
		t.Errorf("after the transaction: %v", err)
	}
}

// If the index has a row that no read finds, the login fails after some attempts.
func TestLogInOfAUserThatIsNeverFound(t *testing.T) {
	e := onSQLite(t)
	// The index treats both openids as equal, like a case-insensitive collation.
	const index = "CREATE UNIQUE INDEX other ON wx_userinfo (openid COLLATE NOCASE)"
	if _, err := e.db.ExecContext(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	e.register(t, "oalice")
	if _, _, err := e.model.LogIn(t.Context(), Login{Openid: "oALICE"}); !IsUnavailable(err) {
		t.Errorf("got %v, want an error that IsUnavailable", err)
	}
}

// Deletes race with logins of the same user: each login succeeds.
func TestLoginsRaceWithDeletes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		e.register(t, "oalice")
		ctx, stop := context.WithCancel(t.Context())
		var deletes errgroup.Group
		deletes.Go(func() error {
			for ctx.Err() == nil {
				row, err := e.model.FindByOpenid(t.Context(), "oalice")
				if err == nil {
					err = e.model.Delete(t.Context(), row.Id)
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
			}
			return nil
		})
		for range 100 {
			if _, _, err := e.model.LogIn(t.Context(), Login{Openid: "oalice"}); err != nil {
				t.Error(err)
			}
		}
		stop()
		if err := deletes.Wait(); err != nil {
			t.Error(err)
		}
	})
}
