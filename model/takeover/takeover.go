// Package takeover turns the wx_userinfo table of the legacy service into the one that this
// service's migrations make, in place. Every row, its id and its other columns are kept. Only
// `shares migrate` calls it, before the migrations, while the legacy service is stopped.
//
// There are three steps: an ALTER TABLE that gives every column its new type but lets it be NULL;
// the rows, in batches of one transaction each, which mark a row as done by its session epoch; an
// ALTER TABLE that forbids NULL. information_schema tells which are left, so the next run finishes
// one that was killed. All rows are checked before the first step.
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

// Options of Run. Out is required.
type Options struct {
	DryRun    bool      // report what would change, and change nothing
	KeepTwins bool      // openids that differ only in case are different users
	Out       io.Writer // gets the report and the progress, without data of users

	batch int               // rows of a transaction; 250 if 0, at most 2 MB
	step  func(name string) // for tests: called after each step that the database has kept
	now   time.Time         // for tests: of the new times
}

// Run takes over the wx_userinfo table of a MySQL or MariaDB database of model.OpenMySQL. It does
// nothing when there is no such table, or when it is this service's. Rows that cannot be kept are a
// *Refusal; a table that is not the legacy service's is a migrations.ErrForeignTable. Errors hold
// ids of rows and no other values. A second caller waits until the first is done or ctx ends. A step
// may take long: db's read timeout must allow for it.
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
