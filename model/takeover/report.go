package takeover

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// findings counts what changes in the rows that are left.
type findings struct {
	rows    int
	changes map[string]map[string]int // by column and change
}

// survey looks at all rows that are left. It adds to r what cannot be kept.
func (t *takeover) survey(ctx context.Context, tab table, r *Refusal) (findings, error) {
	f := findings{changes: map[string]map[string]int{}}
	for _, w := range tab.checked {
		f.changes[w.Name] = map[string]int{}
	}
	err := t.left(ctx, t.conn, tab, math.MinInt64, "", func(row row) {
		f.rows++
		for i, w := range tab.checked {
			if fault := w.fault(row.values[i]); fault != "" {
				r.add(w.Name+" "+fault, strconv.FormatInt(row.id, 10))
			}
			_, change := w.convert(row.values[i])
			f.changes[w.Name][change]++
		}
	})
	return f, err
}

// checkTwins adds to r openids that are there twice, and those that would be two users instead of
// one.
func (t *takeover) checkTwins(ctx context.Context, r *Refusal) error {
	openid := "CONVERT(`openid` USING utf8mb4) COLLATE utf8mb4_bin"
	same := "LOWER(" + openid + ")"
	if t.KeepTwins {
		same = openid
	}
	err := query(ctx, t.conn, func(rows *sql.Rows) error {
		var ids string
		var different int
		if err := rows.Scan(&ids, &different); err != nil {
			return err
		}
		if different == 1 {
			r.add("the openid is there more than once", ids)
		} else {
			r.add("the openids differ only in upper and lower case "+
				"(--keep-twins takes them for different users)", ids)
		}
		return nil
	}, fmt.Sprintf("SELECT GROUP_CONCAT(`id` ORDER BY `id` SEPARATOR ' and '), COUNT(DISTINCT %s) "+
		"FROM `wx_userinfo` WHERE `openid` <> '' GROUP BY %s HAVING COUNT(*) > 1 ORDER BY MIN(`id`)", openid, same))
	if err != nil {
		return wrap("look for twins", err)
	}
	return nil
}

// report prints what changes.
func (t *takeover) report(tab table, f findings) {
	what, verb := "wx_userinfo is a table of the legacy service", "become"
	if tab.state == widened {
		what = "an interrupted takeover of wx_userinfo continues"
	}
	if t.DryRun {
		verb = "would become"
	}
	fmt.Fprintf(t.Out, "%s: %d rows %s this service's\n", what, f.rows, verb)
	fmt.Fprintf(t.Out, "  %-14s %d made: everyone logs in again\n", "session_epoch", f.rows)
	for _, w := range t.targets {
		var said []string
		for _, change := range []string{fromNull, fromEmoji, fromWord, toNothing} {
			if n := f.changes[w.Name][change]; n > 0 {
				said = append(said, fmt.Sprintf("%d %s", n, change))
			}
		}
		if len(said) > 0 {
			fmt.Fprintf(t.Out, "  %-14s %s\n", w.Name, strings.Join(said, ", "))
		}
	}
	if len(tab.kept) > 0 {
		fmt.Fprintf(t.Out, "  %-14s %s\n", "kept as is", strings.Join(tab.kept, ", "))
	}
}

// Refusal says what has to be put right before a table can be taken over. Nothing was changed.
type Refusal struct {
	kinds []string
	ids   map[string][]string // of rows, by kind; none for a fault of the table
}

// namedIDs is how many rows, or groups of them, a Refusal names for a kind.
const namedIDs = 20

func (r *Refusal) add(kind string, ids ...string) {
	if _, known := r.ids[kind]; !known {
		r.kinds = append(r.kinds, kind)
	}
	r.ids[kind] = append(r.ids[kind], ids...)
}

// Error names each kind of fault, how often it is there, and the ids of the first rows.
func (r *Refusal) Error() string {
	text := "takeover: nothing was changed; to be put right in wx_userinfo first:"
	for _, kind := range r.kinds {
		text += "\n  " + kind
		if ids := r.ids[kind]; len(ids) > 0 {
			text += fmt.Sprintf(": %d times, id %s", len(ids), strings.Join(ids[:min(len(ids), namedIDs)], ", "))
			if len(ids) > namedIDs {
				text += ", …"
			}
		}
	}
	return text
}
