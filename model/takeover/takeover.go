// Package takeover converts the wx_userinfo table of the legacy service to the table of this
// service's migrations. It keeps all rows, their ids, and columns that this service does not use.
// Only `shares migrate` calls it, before the migrations, while the legacy service is stopped.
//
// It checks all rows, copies them into a new table, and swaps the two tables in one statement. The
// legacy service's table remains as wx_userinfo_legacy. If a run is killed before the swap, the
// next one starts again.
package takeover

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"shares/model"
	"shares/model/migrations"
)

// Options configure Run. Out is required.
type Options struct {
	DryRun    bool      // report what would change, and change nothing
	KeepTwins bool      // keep openids that differ only in case as different users
	Out       io.Writer // for the report and the progress, which hold no user data
}

// Run takes over the wx_userinfo table of db, which comes from model.OpenMySQL. It does nothing if
// there is no such table, or if the table is already this service's. It returns an error that lists
// the ids of rows that cannot be kept, and migrations.ErrForeignTable if the table is not the
// legacy service's. Errors contain no other values. Concurrent callers wait for each other until
// ctx ends. db's read timeout must be longer than the copying.
func Run(ctx context.Context, db *sql.DB, o Options) error {
	t := &takeover{Options: o, db: db}
	if o.DryRun {
		return t.run(ctx, nil)
	}
	return migrations.WithLease(ctx, db, o.Out, func(l *migrations.Lease) error {
		return t.run(ctx, l)
	})
}

type takeover struct {
	Options
	db *sql.DB
}

func (t *takeover) run(ctx context.Context, lease *migrations.Lease) error {
	err := migrations.CheckTable(ctx, t.db, migrations.MySQL)
	if !errors.Is(err, migrations.ErrForeignTable) {
		return err
	}
	tab, err := t.inspect(ctx)
	if err != nil {
		return err
	}
	if err := t.refuse(ctx, tab); err != nil {
		return err
	}
	if err := t.report(ctx, tab); err != nil || t.DryRun {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"copy the rows", func(ctx context.Context) error { return t.exec(ctx, tab.copying()...) }},
		{"replace emoji stored as text", t.unescapeAll},
		{"swap the tables", func(ctx context.Context) error {
			return t.exec(ctx, "RENAME TABLE `wx_userinfo` TO `wx_userinfo_legacy`, "+
				"`wx_userinfo_new` TO `wx_userinfo`")
		}},
	} {
		fmt.Fprintln(t.Out, "  "+step.name)
		if err := lease.Hold(ctx); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return wrap(step.name, err)
		}
	}
	fmt.Fprintln(t.Out, "wx_userinfo is taken over; the legacy service's table is now "+
		"wx_userinfo_legacy")
	return nil
}

func (t *takeover) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := t.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func wrap(op string, err error) error { return model.Wrap("takeover: "+op, err) }

// emoji matches the legacy service's text for an emoji, such as [\u1f604]. It used this form only
// for characters that MySQL's utf8 cannot hold, from U+10000 to U+10FFFF. Any other text of this
// form was typed by a user, and stays. MySQL 5.7 knows no other kind of group.
const emoji = `\[\\u(0?[1-9a-fA-F]|10)[0-9a-fA-F]{4}\]`

var escaped = regexp.MustCompile(emoji)

// unescape replaces each emoji stored as text by the character.
func unescape(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		r, err := strconv.ParseUint(e[len(`[\u`):len(e)-1], 16, 32)
		if err != nil {
			return e
		}
		return string(rune(r))
	})
}

// wording lists the columns that may contain emoji as text.
var wording = []string{"nick_name", "city", "province", "country", "group"}

// unescapeAll replaces emoji in the new table.
func (t *takeover) unescapeAll(ctx context.Context) error {
	tx, err := t.db.BeginTx(ctx, nil) // one flush of the disk instead of one for each row
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after Commit
	names := "`" + strings.Join(wording, "`, `") + "`"
	rows, err := t.db.QueryContext(ctx, "SELECT `id`, "+names+" FROM `wx_userinfo_new` "+
		"WHERE CONCAT_WS('|', "+names+") REGEXP ?", emoji)
	if err != nil {
		return err
	}
	defer rows.Close() // rows.Err reports the failure
	update := "UPDATE `wx_userinfo_new` SET `" + strings.Join(wording, "` = ?, `") +
		"` = ? WHERE `id` = ?"
	for rows.Next() {
		var id int64
		values := make([]string, len(wording))
		into, args := []any{&id}, []any{}
		for i := range values {
			into = append(into, &values[i])
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for _, value := range values {
			args = append(args, unescape(value))
		}
		if _, err := tx.ExecContext(ctx, update, append(args, id)...); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return tx.Commit()
}
