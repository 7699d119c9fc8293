package takeover

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// findings counts the changes in the rows that are not converted yet.
type findings struct {
	rows    int
	changes map[string]map[string]int // by column and change
}

// survey checks all rows that are not converted yet. It adds values that cannot be kept to r.
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

// checkTwins adds duplicate openids to r. Without KeepTwins, openids that differ only in case are
// duplicates, too.
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
			r.add("duplicate openid", ids)
		} else {
			r.add("openids differ only in case (--keep-twins keeps them as different users)", ids)
		}
		return nil
	}, fmt.Sprintf("SELECT GROUP_CONCAT(`id` ORDER BY `id` SEPARATOR ' and '), COUNT(DISTINCT %s) "+
		"FROM `wx_userinfo` WHERE `openid` <> '' GROUP BY %s HAVING COUNT(*) > 1 ORDER BY MIN(`id`)",
		openid, same))
	if err != nil {
		return wrap("look for duplicate openids", err)
	}
	return nil
}

// report prints the changes.
func (t *takeover) report(tab table, f findings) {
	what, verb := "wx_userinfo is the legacy service's table", "are"
	if tab.state == widened {
		what = "continuing an interrupted takeover of wx_userinfo"
	}
	if t.DryRun {
		verb = "would be"
	}
	fmt.Fprintf(t.Out, "%s: %d rows %s converted\n", what, f.rows, verb)
	fmt.Fprintf(t.Out, "  %-14s %d created: all users log in again\n", "session_epoch", f.rows)
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
		fmt.Fprintf(t.Out, "  %-14s %s\n", "unchanged", strings.Join(tab.kept, ", "))
	}
}

// Refusal is an error that lists the faults to fix before a takeover. Nothing was changed.
type Refusal struct {
	kinds []string
	ids   map[string][]string // of rows, by kind; none if the fault is in the table
}

// namedIDs is the number of rows, or groups of rows, that a Refusal names for each kind.
const namedIDs = 20

func (r *Refusal) add(kind string, ids ...string) {
	if _, known := r.ids[kind]; !known {
		r.kinds = append(r.kinds, kind)
	}
	r.ids[kind] = append(r.ids[kind], ids...)
}

// Error names each kind of fault, its count, and the ids of the first rows.
func (r *Refusal) Error() string {
	text := "takeover: nothing was changed; fix these faults of wx_userinfo first:"
	for _, kind := range r.kinds {
		text += "\n  " + kind
		if ids := r.ids[kind]; len(ids) > 0 {
			named := strings.Join(ids[:min(len(ids), namedIDs)], ", ")
			text += fmt.Sprintf(": %d times, id %s", len(ids), named)
			if len(ids) > namedIDs {
				text += ", …"
			}
		}
	}
	return text
}
