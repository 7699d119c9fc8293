// Package takeover turns the wx_userinfo table of the first system into the one that this service's migrations make, in place, keeping
// every row, its id and what else is stored with it. `shares migrate` calls it before the migrations; nothing else does. The first system
// is stopped meanwhile.
//
// There are three steps, and information_schema tells which are left, so a run that was killed anywhere is finished by the next one: an
// ALTER TABLE that gives every column its new type but lets it be NULL; the rows, in batches of one transaction each, those done being
// the ones with a session epoch; an ALTER TABLE that forbids NULL. All rows are looked at before the first step: what could not be kept,
// or would not be one user any more, is a *Refusal, and nothing is changed.
package takeover

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"

	"shares/model/migrations"
)

// Options of Run. The zero value is good.
type Options struct {
	DryRun    bool             // say what would change, and change nothing
	KeepTwins bool             // openids that differ in case only are different users
	Out       io.Writer        // gets the report and the progress, as lines without any data of users; nil for none
	Now       func() time.Time // time.Now if nil

	batch int               // rows of a transaction, 250 if 0: one statement of them stays far below any max_allowed_packet
	step  func(name string) // called after each step that the database has kept, for tests that end the process there
}

// Run takes over the wx_userinfo table of the MySQL or MariaDB database db, as model.OpenMySQL opens it: with strict SQL mode. It returns
// nil without doing anything when there is no such table, or when it is this service's. It returns a *Refusal for rows that have to be
// put right first, and migrations.ErrForeignTable, wrapped, for a table that is not the first system's. Errors hold ids of rows and no
// other values. Two callers at once do not disturb each other; the second waits until the first is done or ctx ends. A step may take long:
// db's read timeout must allow for it.
func Run(ctx context.Context, db *sql.DB, o Options) error {
	o.batch = cmp.Or(o.batch, 250)
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	want, err := targets()
	if err != nil {
		return err
	}
	if o.DryRun {
		conn, err := db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("takeover: connect: %w", err)
		}
		defer conn.Close() // it was only read from
		return (&takeover{Options: o, conn: conn, want: want}).run(ctx)
	}
	return migrations.WithLock(ctx, db, func(conn *sql.Conn) error {
		return (&takeover{Options: o, conn: conn, want: want}).run(ctx)
	})
}

type takeover struct {
	Options
	conn *sql.Conn
	want []target
}

func (t *takeover) run(ctx context.Context) error {
	tab, err := inspect(ctx, t.conn)
	if err != nil {
		return err
	}
	if tab.state == absent || tab.state == taken {
		return nil
	}
	refusal := &Refusal{}
	if tab.state == untouched {
		if err := tab.checkShape(t.want, refusal); err != nil {
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
	if err := refusal.orNil(); err != nil {
		return err
	}
	found.print(t.Out, t.DryRun)
	widen, finish := tab.widen(t.want), finishing(t.want)
	if t.DryRun {
		if tab.state == untouched {
			fmt.Fprintf(t.Out, "  first:  %s\n", widen)
		}
		fmt.Fprintf(t.Out, "  last:   %s\n", finish)
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
