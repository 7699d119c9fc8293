// Package takeover converts the wx_userinfo table of the legacy service, in place, to the table of
// this service's migrations. It keeps all rows, their ids, and columns that this service does not
// use. Only `shares migrate` calls it, before the migrations, while the legacy service is stopped.
//
// It first checks all rows. There are three steps: an ALTER TABLE that gives each column its new
// type but allows NULL; the conversion of the rows, one batch per transaction, where a session
// epoch marks a converted row; an ALTER TABLE that forbids NULL. If a run is killed, the next one
// reads from information_schema which steps are left.
package takeover

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"

	"shares/model"
	"shares/model/migrations"
)

// Options configure Run. Out is required.
type Options struct {
	DryRun    bool      // report what would change, and change nothing
	KeepTwins bool      // keep openids that differ only in case as different users
	Out       io.Writer // for the report and the progress, which hold no user data

	batch int               // rows per transaction; default 250, at most 2 MB
	step  func(name string) // for tests: called after each step
	now   time.Time         // for tests: the time for new columns; default: now
}

// Run takes over the wx_userinfo table of db, which comes from model.OpenMySQL. It does nothing if
// there is no such table, or if the table is already this service's. It returns a *Refusal if rows
// cannot be kept, and migrations.ErrForeignTable if the table is not the legacy service's. Errors
// contain ids of rows, but no other values. Concurrent callers wait for each other until ctx ends.
// db's read timeout must be longer than the slowest step.
func Run(ctx context.Context, db *sql.DB, o Options) error {
	columns, err := targets()
	if err != nil {
		return err
	}
	o.batch = cmp.Or(o.batch, 250)
	if o.now.IsZero() {
		o.now = time.Now()
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	return migrations.WithLock(ctx, db, func(conn *sql.Conn) error {
		return (&takeover{Options: o, conn: conn, targets: columns}).run(ctx)
	})
}

type takeover struct {
	Options
	conn    *sql.Conn
	targets []target
}

func (t *takeover) run(ctx context.Context) error {
	tab, err := t.inspect(ctx)
	if err != nil || tab.state == absent || tab.state == taken {
		return err
	}
	refusal := &Refusal{ids: map[string][]string{}}
	if tab.state == untouched {
		if err := tab.checkShape(t.targets, refusal); err != nil {
			return err
		}
		if err := t.checkTwins(ctx, refusal); err != nil {
			return err
		}
	}
	found, err := t.survey(ctx, tab, refusal)
	if err != nil {
		return err
	}
	if len(refusal.kinds) > 0 {
		return refusal
	}
	t.report(tab, found)
	widen, finish := tab.widen(t.targets), finishing(t.targets)
	if t.DryRun {
		fmt.Fprintf(t.Out, "  first:  %s\n  last:   %s\n", widen, finish)
		return nil
	}

	if tab.state == untouched {
		fmt.Fprintln(t.Out, "  changing the columns' types")
		if _, err := t.conn.ExecContext(ctx, widen); err != nil {
			return wrap("change the columns' types", err)
		}
		t.step("widen")
	}
	if err := t.convertAll(ctx, found.rows); err != nil {
		return err
	}
	fmt.Fprintln(t.Out, "  forbidding NULL")
	if _, err := t.conn.ExecContext(ctx, finish); err != nil {
		return wrap("forbid NULL", err)
	}
	t.step("finish")
	fmt.Fprintln(t.Out, "wx_userinfo is taken over")
	return nil
}

func wrap(op string, err error) error { return model.Wrap("takeover: "+op, err) }
