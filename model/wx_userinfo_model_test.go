package model

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

func TestUpdateProfile(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		ctx := t.Context()
		row := e.register(t, "oalice")
		other := e.register(t, "obob")
		e.find(t, row.Id) // now cached
		want := *row

		e.clock.advance(time.Minute)
		if err := e.model.UpdateProfile(ctx, row.Id, row.SessionEpoch, Columns{
			"nick_name": "小明 👩‍👩‍👧 \\ ' \"", "avatar_url": "https://a/b", "gender": "2",
			"city": "广州", "province": "广东",
			"country": "中国", "language": "zh_CN", "phone": "13800000000", "rg": false, "only20": true,
		}); err != nil {
			t.Fatal(err)
		}
		want.NickName, want.AvatarUrl, want.Gender = "小明 👩‍👩‍👧 \\ ' \"", "https://a/b", "2"
		want.City, want.Province, want.Country = "广州", "广东", "中国"
		want.Language, want.Phone, want.Rg, want.Only20 = "zh_CN", "13800000000", 0, 1
		want.UpdatedAt = want.UpdatedAt.Add(time.Minute)
		if diff := cmp.Diff(&want, e.find(t, row.Id)); diff != "" {
			t.Errorf("all fields (-want +got):\n%s", diff)
		}

		e.clock.advance(time.Minute)
		two := Columns{"phone": "", "rg": true}
		if err := e.model.UpdateProfile(ctx, row.Id, row.SessionEpoch, two); err != nil {
			t.Fatal(err)
		}
		want.Phone, want.Rg, want.UpdatedAt = "", 1, want.UpdatedAt.Add(time.Minute)
		if diff := cmp.Diff(&want, e.find(t, row.Id)); diff != "" {
			t.Errorf("two fields (-want +got):\n%s", diff)
		}

		if err := e.model.UpdateProfile(ctx, row.Id, row.SessionEpoch, two); err != nil {
			t.Errorf("the same values again: %v", err)
		}
		if err := e.model.UpdateProfile(ctx, row.Id, row.SessionEpoch, Columns{}); err != nil {
			t.Errorf("no field: %v", err)
		}
		if diff := cmp.Diff(other, e.find(t, other.Id)); diff != "" {
			t.Errorf("another user's row changed (-want +got):\n%s", diff)
		}
		for name, key := range map[string][2]int64{
			"no such user":  {row.Id + 100, row.SessionEpoch},
			"another epoch": {row.Id, row.SessionEpoch + 1},
			"no epoch":      {row.Id, 0},
		} {
			err := e.model.UpdateProfile(ctx, key[0], key[1], Columns{"city": "x"})
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
		if got := e.find(t, row.Id).City; got != "广州" {
			t.Errorf("a refused update wrote %q, want no change", got)
		}
	})
}

func TestConcurrentUpdatesAllSurvive(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		row := e.register(t, "oalice")
		e.find(t, row.Id)
		var g errgroup.Group
		for _, p := range []Columns{
			{"nick_name": "n"}, {"avatar_url": "a"}, {"gender": "1"}, {"city": "c"}, {"province": "p"},
			{"country": "k"}, {"language": "l"}, {"phone": "1"}, {"rg": false}, {"only20": true},
		} {
			for range 10 {
				g.Go(func() error {
					return e.model.UpdateProfile(t.Context(), row.Id, row.SessionEpoch, p)
				})
			}
		}
		g.Go(func() error {
			return e.model.SetAdmin(t.Context(), row.Id, Columns{"capacity": int64(50)})
		})
		g.Go(func() error {
			in := Login{Openid: row.Openid, Unionid: "u", Refresh: true}
			_, _, err := e.model.LogIn(t.Context(), in)
			return err
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		want := *row
		want.NickName, want.AvatarUrl, want.Gender = "n", "a", "1"
		want.City, want.Province, want.Country = "c", "p", "k"
		want.Language, want.Phone, want.Rg, want.Only20 = "l", "1", 0, 1
		want.Capacity, want.Unionid = 50, "u"
		if diff := cmp.Diff(&want, e.find(t, row.Id)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAnotherEpochEndsSessions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		ctx := t.Context()
		row := e.register(t, "oalice")
		e.find(t, row.Id)
		epoch := NewEpoch()
		setEpoch := func(id, epoch int64) error {
			return e.model.SetAdmin(ctx, id, Columns{"session_epoch": epoch})
		}
		if err := setEpoch(row.Id, epoch); err != nil {
			t.Fatal(err)
		}
		if got := e.find(t, row.Id).SessionEpoch; got != epoch || got == row.SessionEpoch {
			t.Errorf("epoch %d, was %d, want %d", got, row.SessionEpoch, epoch)
		}
		err := e.model.UpdateProfile(ctx, row.Id, row.SessionEpoch, Columns{"city": "x"})
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a revoked session: %v, want ErrNotFound", err)
		}
		if err := e.model.UpdateProfile(ctx, row.Id, epoch, Columns{"city": "x"}); err != nil {
			t.Errorf("the new session: %v", err)
		}
		if err := setEpoch(row.Id+100, epoch); !errors.Is(err, ErrNotFound) {
			t.Errorf("no such user: %v, want ErrNotFound", err)
		}
		for _, extreme := range []int64{-1 << 63, 1<<63 - 1} {
			if err := setEpoch(row.Id, extreme); err != nil || e.find(t, row.Id).SessionEpoch != extreme {
				t.Errorf("epoch %d: %v", extreme, err)
			}
		}
	})
}

func TestSetAdmin(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		ctx := t.Context()
		row := e.register(t, "oalice")
		e.find(t, row.Id)
		want := *row
		all := Columns{"vip": true, "group": "甲,乙", "capacity": int64(100)}
		if err := e.model.SetAdmin(ctx, row.Id, all); err != nil {
			t.Fatal(err)
		}
		want.Vip, want.Group, want.Capacity = 1, "甲,乙", 100
		if diff := cmp.Diff(&want, e.find(t, row.Id)); diff != "" {
			t.Errorf("all (-want +got):\n%s", diff)
		}
		if err := e.model.SetAdmin(ctx, row.Id, Columns{"group": ""}); err != nil {
			t.Fatal(err)
		}
		want.Group = ""
		if diff := cmp.Diff(&want, e.find(t, row.Id)); diff != "" {
			t.Errorf("one (-want +got):\n%s", diff)
		}
		if err := e.model.SetAdmin(ctx, row.Id+100, Columns{"group": ""}); !errors.Is(err, ErrNotFound) {
			t.Errorf("no such user: %v, want ErrNotFound", err)
		}
	})
}

func TestDelete(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		ctx := t.Context()
		row := e.register(t, "oalice")
		e.find(t, row.Id)
		if err := e.model.Delete(ctx, row.Id); err != nil {
			t.Fatal(err)
		}
		if _, err := e.model.FindOne(ctx, row.Id); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted: %v, want ErrNotFound", err)
		}
		if err := e.model.Delete(ctx, row.Id); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted twice: %v, want ErrNotFound", err)
		}
		again := e.register(t, "oalice")
		if again.Id == row.Id {
			t.Error("the id of a deleted user was used again")
		}
		if again.SessionEpoch == row.SessionEpoch {
			t.Error("sessions of the deleted user are valid for the new one")
		}
	})
}

func TestErrorsHoldNoValues(t *testing.T) {
	e := onMariaDB(t)
	row := e.register(t, "oalice")
	secret := strings.Repeat("1380000000", 30)
	err := e.model.UpdateProfile(t.Context(), row.Id, row.SessionEpoch, Columns{"phone": secret})
	var server *mysql.MySQLError
	if !errors.As(err, &server) || server.Number != 1406 {
		t.Fatalf("a value too long: %v, want MySQL's error 1406", err)
	}
	if got, want := err.Error(), "model: update profile 1: MySQL error 1406"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	full := &mysql.MySQLError{Number: 6, Message: "Error on delete of '/tmp/#sql-1.MAI'"}
	if got := Wrap("look", full).Error(); !strings.Contains(got, full.Message) {
		t.Errorf("an error below 1000: got %q, want the server's text", got)
	}

	m := e.model.(*customWxUserinfoModel)
	_, err = m.insert(t.Context(), Login{Openid: "oalice"})
	if !isDuplicate(err) {
		t.Fatalf("a second row for an openid: %v", err)
	}
	if err := wrap("insert users", err); strings.Contains(err.Error(), "oalice") {
		t.Errorf("the error contains the openid: %v", err)
	}
}

// Rows change in the database without an invalidation, as when Redis is down. Recheck returns the
// new row, and later reads do too.
func TestRecheck(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		ctx := t.Context()
		changed, deleted := e.register(t, "ochanged"), e.register(t, "odeleted")
		same := e.register(t, "osame")
		cached := map[int64]*WxUserinfo{}
		for _, row := range []*WxUserinfo{changed, deleted, same} {
			cached[row.Id] = e.find(t, row.Id)
		}
		for _, statement := range []string{
			"update wx_userinfo set session_epoch = 77 where openid = 'ochanged'",
			"delete from wx_userinfo where openid = 'odeleted'",
			"update wx_userinfo set city = 'elsewhere' where openid = 'osame'",
		} {
			if _, err := e.db.ExecContext(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
		for _, old := range cached {
			if got := e.find(t, old.Id); got.SessionEpoch != old.SessionEpoch || got.City != "" {
				t.Fatal("the row is not cached, so the test shows nothing")
			}
		}

		row, err := e.model.Recheck(ctx, cached[changed.Id])
		if err != nil || row.SessionEpoch != 77 || row.Openid != "ochanged" {
			t.Errorf("changed: %+v, %v, want epoch 77", row, err)
		}
		if got := e.find(t, changed.Id).SessionEpoch; got != 77 {
			t.Errorf("the cache still has epoch %d, want 77", got)
		}
		if _, err := e.model.Recheck(ctx, cached[deleted.Id]); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted: %v, want ErrNotFound", err)
		}
		if _, err := e.model.FindOne(ctx, deleted.Id); !errors.Is(err, ErrNotFound) {
			t.Errorf("the cache still has a deleted user: %v", err)
		}
		// A request with a forged session must not invalidate the cached row.
		if row, err := e.model.Recheck(ctx, cached[same.Id]); err != nil || row.City != "elsewhere" {
			t.Errorf("the same epoch: %+v, %v, want the new city", row, err)
		}
		if got := e.find(t, same.Id).City; got != "" {
			t.Error("the cached row of a user with the same epoch was invalidated")
		}
	})
}

// With a collation other than the column's, the lookup could not use the index.
func TestOpenidLookupUsesTheIndex(t *testing.T) {
	const query = "SELECT `id` FROM `wx_userinfo` WHERE `openid` = ?"
	var plan, none string
	e := onMariaDB(t)
	e.register(t, "oalice")
	err := e.db.QueryRowContext(t.Context(), "EXPLAIN FORMAT=JSON "+query, "oalice").Scan(&plan)
	if err != nil || !strings.Contains(plan, `"access_type": "const"`) ||
		!strings.Contains(plan, `"key": "uk_wx_userinfo_openid"`) {
		t.Errorf("%v, got %s, want the unique index", err, plan)
	}
	err = onSQLite(t).db.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query, "oalice").
		Scan(&none, &none, &none, &plan)
	const want = "SEARCH wx_userinfo USING COVERING INDEX uk_wx_userinfo_openid (openid=?)"
	if err != nil || plan != want {
		t.Errorf("%v, got %q, want %q", err, plan, want)
	}
}

// The error for a value of the wrong type does not quote it. Only SQLite stores such a value.
func TestBrokenRow(t *testing.T) {
	e := onSQLite(t)
	row := e.register(t, "obroken")
	_, err := e.db.ExecContext(t.Context(), "UPDATE wx_userinfo SET vip = 'yes' WHERE id = ?", row.Id)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"by id":     func() error { _, err := e.model.FindOne(t.Context(), row.Id); return err },
		"by openid": func() error { _, err := e.model.FindByOpenid(t.Context(), row.Openid); return err },
		"recheck":   func() error { _, err := e.model.Recheck(t.Context(), row); return err },
	} {
		if err := read(); !errors.Is(err, errBrokenRow) || strings.Contains(err.Error(), "yes") {
			t.Errorf("%s: %v, want errBrokenRow without the value", name, err)
		}
	}
}
