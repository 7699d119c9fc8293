package model

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/zeromicro/go-zero/core/breaker"
	"golang.org/x/sync/errgroup"

	"shares/internal/batch"
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
			t.Error("the first login made no user")
		}
		if diff := cmp.Diff(Registered{Id: 1, Openid: openid, Unionid: "u1", SessionEpoch: first.SessionEpoch}, first); diff != "" {
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
		if again, created := logIn(Login{Unionid: "u2", Capacity: 9}); created || again != first {
			t.Errorf("second login: created %v, %+v, want %+v", created, again, first)
		}
		stored("a second login changes the time of the last one", want)
		if diff := cmp.Diff(cached, e.find(t, first.Id)); diff != "" {
			t.Errorf("a login voided the cached row (-want +got):\n%s", diff)
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
		want.Unionid, want.LastLoginAt, want.UpdatedAt = "u2", want.LastLoginAt.Add(time.Hour), want.UpdatedAt.Add(3*time.Hour)
		logIn(Login{Unionid: "u2", Refresh: true})
		stored("refreshed", want)
		if got := e.find(t, first.Id).Unionid; got != "u2" {
			t.Errorf("refreshed: the cached row has the unionid %q", got)
		}
	})
}

// hold has all batches of logins that may be under way wait until release is called: what comes meanwhile goes together.
func hold(t *testing.T, m WxUserinfoModel) (release func()) {
	t.Helper()
	g := m.(*customWxUserinfoModel).logins
	held, open := make(chan struct{}, loginsAtOnce), make(chan struct{})
	arrive := g.arrive
	g.arrivals = batch.New(loginsAtOnce, loginsAtOnce, loginLength, func(all []*login) {
		if all[0].Openid == "hold" {
			held <- struct{}{}
			<-open
			finish(all)
			return
		}
		arrive(all)
	})
	for range loginsAtOnce {
		g.arrivals.Add(&login{ctx: t.Context(), Login: Login{Openid: "hold"}, done: make(chan struct{})})
		<-held
	}
	return sync.OnceFunc(func() { close(open) })
}

// Known users and new ones, one of them three times, all at once: each gets its own row.
func TestLogInTogether(t *testing.T) {
	eachRealDatabase(t, func(t *testing.T, e env) {
		known := map[string]*WxUserinfo{}
		for i := range 20 {
			openid := fmt.Sprintf("oKnown%02d", i)
			known[openid] = e.register(t, openid)
		}
		e.clock.advance(time.Hour)
		logins := []Login{{Openid: "oNew1"}, {Openid: "oNew2"}, {Openid: "oNew2"}, {Openid: "oNew2"}, {Openid: "oNew3"}}
		for openid := range known {
			logins = append(logins, Login{Openid: openid, Refresh: openid == "oKnown07"})
		}
		for i := range logins {
			logins[i].Capacity, logins[i].Unionid = 3, "u-"+logins[i].Openid
		}
		who, created := e.logInAtOnce(t, logins)

		made := map[string]int{}
		for i, openid := range openidsOf(logins) {
			row, err := e.model.FindByOpenid(t.Context(), openid)
			if err != nil {
				t.Fatal(err)
			}
			if who[i].Id != row.Id || who[i].Openid != openid || who[i].SessionEpoch != row.SessionEpoch {
				t.Errorf("%s got %+v, the row is %+v", openid, who[i], row)
			}
			if row.LastLoginAt != e.clock.Now().UTC().Truncate(time.Millisecond) {
				t.Errorf("%s: the login was not noted", openid)
			}
			if created[i] {
				made[openid]++
			}
			if before := known[openid]; before != nil {
				before.LastLoginAt = row.LastLoginAt
				if openid == "oKnown07" {
					before.Unionid, before.UpdatedAt = "u-oKnown07", row.UpdatedAt
				}
				if diff := cmp.Diff(before, row); diff != "" {
					t.Errorf("%s (-before +after):\n%s", openid, diff)
				}
			} else if row.Capacity != 3 || row.Unionid != "u-"+openid {
				t.Errorf("%s: %+v", openid, row)
			}
		}
		if diff := cmp.Diff(map[string]int{"oNew1": 1, "oNew2": 1, "oNew3": 1}, made); diff != "" {
			t.Errorf("made (-want +got):\n%s", diff)
		}
	})
}

// The statements for many are understood by every database.
func TestStatementsForMany(t *testing.T) {
	eachDatabase(t, func(t *testing.T, e env) {
		m := e.model.(*customWxUserinfoModel)
		all := []*login{{Login: Login{Openid: "oOne", Unionid: "u1", Capacity: 1}}, {Login: Login{Openid: "oTwo", Capacity: 2}}}
		if err := m.insert(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		who, err := m.identify(t.Context(), append(all, &login{Login: Login{Openid: "oNone"}}))
		if err != nil || len(who) != 2 {
			t.Fatalf("%+v, %v", who, err)
		}
		one, two := who["oOne"], who["oTwo"]
		if one.Id == two.Id || one.SessionEpoch == two.SessionEpoch || one.SessionEpoch == 0 || one.Unionid != "u1" || two.Unionid != "" {
			t.Errorf("%+v and %+v", one, two)
		}
		e.clock.advance(time.Hour)
		if err := m.touch(t.Context(), []int64{two.Id, one.Id}); err != nil {
			t.Fatal(err)
		}
		for openid, capacity := range map[string]int64{"oOne": 1, "oTwo": 2} {
			row, err := m.FindByOpenid(t.Context(), openid)
			if err != nil || row.Capacity != capacity || row.LastLoginAt.Sub(row.CreatedAt) != time.Hour {
				t.Errorf("%s: %+v, %v", openid, row, err)
			}
		}
	})
}

func openidsOf(logins []Login) []string {
	openids := make([]string, len(logins))
	for i, l := range logins {
		openids[i] = l.Openid
	}
	return openids
}

// logInAtOnce has logins wait for each other, and returns what LogIn did.
func (e env) logInAtOnce(t *testing.T, logins []Login) ([]Registered, []bool) {
	t.Helper()
	who, created := make([]Registered, len(logins)), make([]bool, len(logins))
	release := hold(t, e.model)
	defer release()
	var g errgroup.Group
	for i, in := range logins {
		g.Go(func() (err error) {
			who[i], created[i], err = e.model.LogIn(t.Context(), in)
			return err
		})
	}
	e.waiting(t, len(logins))
	release()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return who, created
}

// waiting waits until n logins wait.
func (e env) waiting(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); e.model.(*customWxUserinfoModel).logins.arrivals.Waiting() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there are never %d logins that wait", n)
		}
	}
}

// Those who log in at once share their statements.
func TestLoginsShareStatements(t *testing.T) {
	e := onMariaDB(t)
	var logins []Login
	for i := range loginLength / 2 {
		logins = append(logins, Login{Openid: e.register(t, fmt.Sprintf("oKnown%02d", i)).Openid}, Login{Openid: fmt.Sprintf("oNew%02d", i)})
	}
	commands := func() map[string]int {
		counts := map[string]int{}
		rows, err := e.db.QueryContext(t.Context(), "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_select', 'Com_insert', 'Com_update')")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var n int
			if err := rows.Scan(&name, &n); err != nil {
				t.Fatal(err)
			}
			counts[name] = n
		}
		return counts
	}
	before := commands()
	e.logInAtOnce(t, logins)
	after := commands()
	for name := range after {
		after[name] -= before[name]
	}
	// Two batches or so arrive, those who are new are made in one or two, and arrive again.
	for name, most := range map[string]int{"Com_select": 8, "Com_insert": 4, "Com_update": 4} {
		if after[name] < 1 || after[name] > most {
			t.Errorf("%s: %d for %d logins", name, after[name], len(logins))
		}
	}
}

// One of many whose row is locked, by an operator's open transaction for one, must not keep the others out.
func TestLogInBesideALockedRow(t *testing.T) {
	db, err := OpenMySQL(testenv.MariaDB(t).Database(t), MySQLOptions{LockWait: time.Second, Timeout: 20 * time.Second})
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
	defer tx.Rollback() //nolint:errcheck // it is what ends it
	if _, err := tx.ExecContext(t.Context(), "UPDATE wx_userinfo SET vip = 1 WHERE id = ?", locked.Id); err != nil {
		t.Fatal(err)
	}
	release := hold(t, e.model)
	errs := make(map[string]error)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, openid := range []string{locked.Openid, other.Openid, "oNew"} {
		wg.Go(func() {
			_, _, err := e.model.LogIn(t.Context(), Login{Openid: openid})
			mu.Lock()
			defer mu.Unlock()
			errs[openid] = err
		})
	}
	e.waiting(t, 3)
	release()
	wg.Wait()
	if errs[other.Openid] != nil || errs["oNew"] != nil {
		t.Errorf("the others: %v, %v", errs[other.Openid], errs["oNew"])
	}
	if err := errs[locked.Openid]; !IsUnavailable(err) {
		t.Errorf("whose row is locked: %v, want one that says unavailable", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.model.LogIn(t.Context(), Login{Openid: locked.Openid}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// What another process has made since they were looked up fails the insert of all; each then finds out by itself.
func TestLogInOfOneWhomAnotherProcessMakes(t *testing.T) {
	eachRealDatabase(t, func(t *testing.T, e env) {
		g := e.model.(*customWxUserinfoModel).logins
		all := make([]*login, 3)
		for i, openid := range []string{"oOne", "oTwo", "oThree"} {
			all[i] = &login{ctx: t.Context(), Login: Login{Openid: openid}, done: make(chan struct{})}
		}
		theirs, _, err := NewWxUserinfoModel(NewConn(e.db, 0), e.cache).LogIn(t.Context(), Login{Openid: "oTwo"})
		if err != nil {
			t.Fatal(err)
		}
		g.make(all) // as if looked up before
		for _, l := range all {
			<-l.done
			if l.err != nil || l.who.Openid != l.Openid {
				t.Errorf("%s: %+v, %v", l.Openid, l.who, l.err)
			}
			if ours := l.Openid != "oTwo"; l.created != ours {
				t.Errorf("%s: created %v", l.Openid, l.created)
			}
		}
		if all[1].who.Id != theirs.Id {
			t.Errorf("got row %d, theirs is %d", all[1].who.Id, theirs.Id)
		}
	})
}

// Who has a row that no look finds, for a proxy reads from a replica that is behind, is told to come again, and not tried for ever.
func TestLogInOfOneWhoIsNeverFound(t *testing.T) {
	e := onSQLite(t)
	// The table takes both for one, as its collation would in a database that was not made by the migrations.
	if _, err := e.db.ExecContext(t.Context(), "CREATE UNIQUE INDEX other ON wx_userinfo (openid COLLATE NOCASE)"); err != nil {
		t.Fatal(err)
	}
	e.register(t, "oalice")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, _, err := e.model.LogIn(ctx, Login{Openid: "oALICE"}); !IsUnavailable(err) {
		t.Errorf("%v, want one that says unavailable", err)
	}
}

// What is about none of them in particular is not tried for each of them.
func TestErrorsAboutOne(t *testing.T) {
	for name, test := range map[string]struct {
		err error
		one bool
	}{
		"away": {driver.ErrBadConn, false}, "late": {errLate, false}, "breaker": {breaker.ErrServiceUnavailable, false},
		"deleted meanwhile": {wrap("x", ErrNotFound), true}, "locked": {wrap("x", &mysql.MySQLError{Number: mysqlLockWait}), true},
		"deadlock":  {wrap("x", &mysql.MySQLError{Number: mysqlDeadlock, SQLState: [5]byte([]byte("40001"))}), true},
		"duplicate": {wrap("x", &mysql.MySQLError{Number: mysqlDuplicateEntry, SQLState: [5]byte([]byte("23000"))}), true},
		"shutdown":  {wrap("x", &mysql.MySQLError{Number: 1053, SQLState: [5]byte([]byte("08S01"))}), false},
	} {
		if got := isAboutOne(test.err); got != test.one {
			t.Errorf("%s: %v, want %v", name, got, test.one)
		}
	}
}

// Who was deleted between being looked up and being noted is made again, and the others of the batch do not notice.
func TestLogInOfOneWhoIsDeletedMeanwhile(t *testing.T) {
	eachRealDatabase(t, func(t *testing.T, e env) {
		gone, stays := e.register(t, "oGone"), e.register(t, "oStays")
		m := e.model.(*customWxUserinfoModel)
		if err := m.touch(t.Context(), []int64{gone.Id, stays.Id, gone.Id}); err != nil {
			t.Fatal(err)
		}
		if err := m.Delete(t.Context(), gone.Id); err != nil {
			t.Fatal(err)
		}
		if err := m.touch(t.Context(), []int64{gone.Id, stays.Id}); !errors.Is(err, ErrNotFound) {
			t.Errorf("touched one who is gone: %v", err)
		}
		if who, created, err := m.LogIn(t.Context(), Login{Openid: "oGone"}); err != nil || !created || who.Id == gone.Id {
			t.Errorf("logged in as %+v, created %v, %v", who, created, err)
		}
	})
}

func TestLogInWaitsNoLongerThanItsContext(t *testing.T) {
	e := onSQLite(t)
	release := hold(t, e.model)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := e.model.LogIn(ctx, Login{Openid: "oslow"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want a deadline", err)
	}
	// Who has left costs nothing any more.
	release()
	e.register(t, "onext")
	if _, err := e.model.FindByOpenid(t.Context(), "oslow"); !errors.Is(err, ErrNotFound) {
		t.Errorf("who had left was registered: %v", err)
	}
}

// A login that waits is another goroutine's work, but a panic in it is still its caller's, who knows how to answer.
func TestPanicInALogIn(t *testing.T) {
	e := onSQLite(t)
	broken := true
	m := NewWxUserinfoModel(NewConn(e.db, 0), e.cache, WithRandom(readerFunc(func(p []byte) (int, error) {
		if broken {
			panic("broken")
		}
		return rand.Read(p)
	})))
	func() {
		defer func() {
			if p, _ := recover().(string); !strings.HasPrefix(p, "broken") || !strings.Contains(p, "login.go") {
				t.Errorf("recovered %v, want what panicked and where", p)
			}
		}()
		_, _, err := m.LogIn(t.Context(), Login{Openid: "oalice"})
		t.Errorf("no panic, %v", err)
	}()
	broken = false
	if _, created, err := m.LogIn(t.Context(), Login{Openid: "oalice"}); err != nil || !created {
		t.Errorf("afterwards: created %v, %v", created, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRecent(t *testing.T) {
	var r recent
	r.add(5, "a")
	for name, got := range map[string]bool{
		"made before it was looked up": r.since(5, "a"), "never made": r.since(0, "b"),
	} {
		if got {
			t.Error(name)
		}
	}
	if !r.since(4, "a") {
		t.Error("made since, and not known")
	}
	for i := range recentLength {
		r.add(6, fmt.Sprint(i))
	}
	if !r.since(4, "a") || !r.since(5, "0") {
		t.Error("forgotten too early")
	}
	r.remove("0")
	if r.since(5, "0") {
		t.Error("not removed")
	}
	for i := range 3 * recentLength {
		r.add(7, fmt.Sprint(i))
	}
	if n := len(r.now) + len(r.before); n > 2*recentLength {
		t.Errorf("%d are remembered", n)
	}
}

// What logins cost alone and together, against MariaDB's own commits from one connection.
func BenchmarkLogIn(b *testing.B) {
	s := testenv.NewMariaDB(b)
	db, err := OpenMySQL(s.DSN(s.Database(b)), MySQLOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if err := migrations.Migrate(b.Context(), db, migrations.MySQL); err != nil {
		b.Fatal(err)
	}
	m := NewWxUserinfoModel(NewConn(db, time.Minute), &memoryCache{})
	n := 0
	var mu sync.Mutex
	next := func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("oBench%022d", n)
	}
	logIn := func(b *testing.B, openid string) {
		if _, _, err := m.LogIn(b.Context(), Login{Openid: openid}); err != nil {
			b.Error(err)
		}
	}
	for name, openid := range map[string]func() string{"first": next, "later": func() string { return "oBench" + strings.Repeat("0", 21) + "1" }} {
		b.Run(name+"/alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				logIn(b, openid())
			}
		})
		b.Run(name+"/64 at once", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					logIn(b, openid())
				}
			})
		})
	}
}
