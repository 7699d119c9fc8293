package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"shares/model"
)

// The logins, as the report names them.
const (
	bareInserts = "bare driver, one INSERT a commit"
	firstLogins = "`oauth`, first logins"
	bareUpdates = "bare driver, one UPDATE a commit"
	laterLogins = "`oauth`, later logins"
	knownUsers  = 10_000

	connectionsToMySQL = 32 // as shipped, so that both sides have as many

	// A login waits for WeChat and, twice if it is the first, for MySQL: it takes more of them to keep the cores busy.
	loginConnections = 2 * connections
)

// logins measures oauth beside what MariaDB itself takes in commits.
func (w *world) logins(ctx context.Context, plan schedule, _ string, rep *report) error {
	dsn, err := w.database(ctx, knownUsers)
	if err != nil {
		return err
	}
	if err := w.forgetRows(ctx); err != nil {
		return err
	}
	serve, address, err := w.serve("logins", dsn, w.redis)
	if err != nil {
		return err
	}
	db, err := model.OpenMySQL(dsn, model.MySQLOptions{MaxOpen: connectionsToMySQL})
	if err != nil {
		return err
	}
	defer db.Close()

	codes := 0
	oauth := func(code func(i int) string, n int) (load, error) {
		codes++
		file, err := w.write(fmt.Sprintf("codes-%d", codes), n, code)
		return load{
			path: "/shares/api/v1/weixin.oauth", body: `{"jscode":"` + placeholder(len(openid(1))) + `"}`, values: file,
			connections: loginConnections, duration: plan.run,
		}, err
	}
	later, err := oauth(func(i int) string { return openid(i + 1) }, knownUsers)
	if err != nil {
		return err
	}
	if _, err := w.measure(ctx, contender{"(warm-up)", address, []*program{serve}, later}); err != nil {
		return err
	}
	runs := make(map[string][]result)
	for round := range plan.rounds {
		// More than can log in meanwhile, and others in each round.
		first, err := oauth(func(i int) string { return fmt.Sprintf("oFirst%02d%020d", round, i) }, int(plan.run/time.Second)*20_000)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			name string
			run  func() (result, error)
		}{
			{bareInserts, func() (result, error) {
				return statements(ctx, bareInserts, plan.run, func(ctx context.Context, i int) error {
					return insertOne(ctx, db, fmt.Sprintf("oBare%02d%021d", round, i))
				})
			}},
			{firstLogins, func() (result, error) {
				return w.measure(ctx, contender{firstLogins, address, []*program{serve}, first})
			}},
			{bareUpdates, func() (result, error) {
				return statements(ctx, bareUpdates, plan.run, func(ctx context.Context, i int) error {
					_, err := db.ExecContext(ctx, "UPDATE wx_userinfo SET last_login_at = UTC_TIMESTAMP(3) WHERE id = ?", i%knownUsers+1)
					return err
				})
			}},
			{laterLogins, func() (result, error) {
				return w.measure(ctx, contender{laterLogins, address, []*program{serve}, later})
			}},
		} {
			r, err := c.run()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			runs[c.name] = append(runs[c.name], r)
		}
	}
	rep.logins = make(map[string]result)
	for name, rs := range runs {
		rep.logins[name] = medians(rs)
	}
	return w.stop(serve)
}

func insertOne(ctx context.Context, db *sql.DB, openid string) error {
	_, err := db.ExecContext(ctx, "INSERT INTO wx_userinfo (openid, session_epoch, last_login_at, created_at, updated_at) "+
		"VALUES (?, 1, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))", openid)
	return err
}

func selectOne(ctx context.Context, db *sql.DB, id int) error {
	rows, err := db.QueryContext(ctx, "SELECT * FROM wx_userinfo WHERE id = ?", id)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// statements runs one statement after the other on each connection.
func statements(ctx context.Context, name string, d time.Duration, one func(context.Context, int) error) (result, error) {
	var mu sync.Mutex
	var took []time.Duration
	var errs []error
	var wg sync.WaitGroup
	began := time.Now()
	next := 0
	for range connectionsToMySQL {
		wg.Go(func() {
			for time.Since(began) < d {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				start := time.Now()
				err := one(ctx, i)
				mu.Lock()
				took, errs = append(took, time.Since(start)), append(errs, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return result{}, err
	}
	r := result{
		rate: float64(len(took)) / time.Since(began).Seconds(),
		p50:  percentile(took, 50), p99: percentile(took, 99),
	}
	r.say(name)
	return r, nil
}
