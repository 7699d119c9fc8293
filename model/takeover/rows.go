package takeover

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"shares/model"
)

// wording lists the columns that may contain emoji as text.
var wording = []string{"nick_name", "city", "province", "country", "group"}

var escaped = regexp.MustCompile(`\[\\u[0-9a-fA-F]{5,6}\]`)

// unescape replaces the legacy service's text for an emoji, such as [\u1f604], by the character.
// The legacy service used it only for characters that MySQL's utf8 cannot hold, from U+10000. Any
// other text of this form was typed by a user, and stays.
func unescape(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		r, err := strconv.ParseUint(e[len(`[\u`):len(e)-1], 16, 32)
		if err != nil || r < 0x10000 || r > utf8.MaxRune {
			return e
		}
		return string(rune(r))
	})
}

// genders maps the values of the legacy service to digits.
var genders = map[string]string{"": "", "0": "0", "1": "1", "2": "2", "男": "1", "女": "2", "未知": "0"}

// Changes of values in the report.
const (
	fromNull  = "NULL to the default"
	fromEmoji = "with emoji stored as text"
	fromWord  = "words to digits"
	toNothing = "unknown values cleared"
)

// convert returns the new value for an old one, and the change, empty for none.
func (w target) convert(old sql.NullString) (value, change string) {
	value = old.String
	switch {
	case !old.Valid:
		return w.preset, fromNull
	case w.kind == gender:
		digit, known := genders[strings.TrimSpace(value)]
		if value, change = digit, fromWord; !known {
			change = toNothing
		}
	case slices.Contains(wording, w.Name):
		value, change = unescape(value), fromEmoji
	}
	if value == old.String {
		change = ""
	}
	return value, change
}

// fault returns why a value cannot be stored in the column, empty if it can.
func (w target) fault(v sql.NullString) string {
	if !v.Valid && w.kind != account {
		return ""
	}
	bits := map[kind]int{flag: 8, number: 32}[w.kind]
	_, err := strconv.ParseInt(v.String, 10, bits)
	switch {
	case bits > 0 && err != nil:
		return "is out of range"
	case bits > 0:
		return ""
	case w.kind == account && v.String == "":
		return "is empty"
	case w.kind == account &&
		strings.ContainsFunc(v.String, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "is not printable ASCII"
	case !utf8.ValidString(v.String):
		return "is not UTF-8"
	case utf8.RuneCountInString(v.String) > w.limit:
		return fmt.Sprintf("is longer than %d characters", w.limit)
	}
	return ""
}

type row struct {
	id     int64
	values []sql.NullString // in the order of table.checked
}

// left calls each for the rows that are not converted yet and have an id greater than last, ordered
// by id.
func (t *takeover) left(ctx context.Context, conn querier, tab table, last int64, tail string,
	each func(row)) error {
	names, where := "`id`", "`id` > ?"
	for _, w := range tab.checked {
		names += ", `" + w.Name + "`"
	}
	if tab.state == widened {
		where += " AND `session_epoch` IS NULL"
	}
	err := query(ctx, conn, func(found *sql.Rows) error {
		w := row{values: make([]sql.NullString, len(tab.checked))}
		into := []any{&w.id}
		for i := range w.values {
			into = append(into, &w.values[i])
		}
		if err := found.Scan(into...); err != nil {
			// The driver's error would quote the value.
			return fmt.Errorf("cannot read the row after id %d", last)
		}
		last = w.id
		each(w)
		return nil
	}, "SELECT "+names+" FROM `wx_userinfo` WHERE "+where+" ORDER BY `id`"+tail, last)
	if err != nil {
		return wrap("read rows", err)
	}
	return nil
}

// progressEvery is the number of rows between two lines of progress.
const progressEvery = 10_000

// convertAll converts the remaining rows.
func (t *takeover) convertAll(ctx context.Context, total int) error {
	tab, err := t.inspect(ctx)
	if err != nil {
		return err
	}
	for done, last := 0, int64(math.MinInt64); ; {
		n, err := t.convertBatch(ctx, tab, &last)
		if err != nil {
			return wrap("convert rows", err)
		}
		if n == 0 {
			return nil
		}
		t.step("rows")
		if (done+n)/progressEvery > done/progressEvery || done+n == total {
			fmt.Fprintf(t.Out, "  %d of %d rows\n", done+n, total)
		}
		done += n
	}
}

// convertBatch converts rows after *last in one transaction with one statement. The epoch marks
// them as converted.
func (t *takeover) convertBatch(ctx context.Context, tab table, last *int64) (int, error) {
	tx, err := t.conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // without effect after Commit
	var rows []row
	batch := fmt.Sprintf(" LIMIT %d FOR UPDATE", t.batch)
	err = t.left(ctx, tx, tab, *last, batch, func(r row) { rows = append(rows, r) })
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	*last = rows[len(rows)-1].id
	names := []string{"`id`", "`session_epoch`"}
	sets := []string{"`session_epoch` = VALUES(`session_epoch`)"}
	for _, w := range tab.checked {
		names = append(names, "`"+w.Name+"`")
		sets = append(sets, fmt.Sprintf("`%s` = VALUES(`%[1]s`)", w.Name))
	}
	times := []any{}
	for _, w := range t.targets {
		if w.kind == moment {
			names = append(names, "`"+w.Name+"`")
			sets = append(sets, fmt.Sprintf("`%s` = COALESCE(`%[1]s`, VALUES(`%[1]s`))", w.Name))
			times = append(times, t.now.UTC().Truncate(time.Millisecond))
		}
	}
	var args []any
	for _, row := range rows {
		args = append(args, row.id, model.NewEpoch())
		for i, w := range tab.checked {
			value, _ := w.convert(row.values[i])
			args = append(args, value)
		}
		args = append(args, times...)
	}
	values := ", (?" + strings.Repeat(", ?", len(names)-1) + ")"
	statement := "INSERT INTO `wx_userinfo` (" + strings.Join(names, ", ") + ") VALUES " +
		strings.Repeat(values, len(rows))[len(", "):] +
		" ON DUPLICATE KEY UPDATE " + strings.Join(sets, ", ")
	if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
		return 0, err
	}
	t.step("uncommitted rows")
	return len(rows), tx.Commit()
}
