package takeover

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"shares/model"
)

// wording has the columns that people write into; emoji are looked for in these.
var wording = map[string]bool{"nick_name": true, "city": true, "province": true, "country": true, "group": true}

var escaped = regexp.MustCompile(`\[\\u[0-9a-fA-F]{5,6}\]`)

// unescape turns what the first system wrote for an emoji, such as [\u1f604], into the character. It wrote so what MySQL's utf8 could not
// hold, from U+10000 on: anything else of that form was typed by a user, and stays.
func unescape(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		r, err := strconv.ParseUint(e[len(`[\u`):len(e)-1], 16, 32)
		if err != nil || r < 0x10000 || r > utf8.MaxRune {
			return e
		}
		return string(rune(r))
	})
}

// genderDigit returns the documented digit for what the first system stored; known is false for what means nothing.
func genderDigit(s string) (digit string, known bool) {
	switch s = strings.TrimSpace(s); s {
	case "", "0", "1", "2":
		return s, true
	case "男":
		return "1", true
	case "女":
		return "2", true
	case "未知":
		return "0", true
	}
	return "", false
}

// row is what is stored of a user in the columns that are checked or converted.
type row struct {
	id     int64
	values []sql.NullString // in the order of reader.columns
}

// reader reads rows by their primary key, a batch at a time.
type reader struct {
	columns []target
	query   string
	last    int64
}

// newReader reads the rows that are left to do.
func (t *takeover) newReader(tab table, lock bool) *reader {
	r := &reader{}
	names := []string{"`id`"}
	for _, w := range t.want {
		if _, ok := tab.columns[w.Name]; ok && w.kind != key && w.kind != epoch && w.kind != moment {
			r.columns = append(r.columns, w)
			names = append(names, "`"+w.Name+"`")
		}
	}
	where := "`id` > ?"
	if tab.state == widened {
		where += " AND `session_epoch` IS NULL"
	}
	r.query = fmt.Sprintf("SELECT %s FROM `wx_userinfo` WHERE %s ORDER BY `id` LIMIT %d", strings.Join(names, ", "), where, t.batch)
	if lock {
		r.query += " FOR UPDATE"
	}
	r.last = math.MinInt64
	return r
}

// next returns the next rows, none at the end.
func (r *reader) next(ctx context.Context, conn querier) ([]row, error) {
	var rows []row
	err := query(ctx, conn, func(found *sql.Rows) error {
		w := row{values: make([]sql.NullString, len(r.columns))}
		into := []any{&w.id}
		for i := range w.values {
			into = append(into, &w.values[i])
		}
		if err := found.Scan(into...); err != nil {
			return fmt.Errorf("row after %d cannot be read", r.last) // the driver's text quotes the value
		}
		rows = append(rows, w)
		return nil
	}, r.query, r.last)
	if err != nil {
		return nil, wrap("read rows", err)
	}
	if len(rows) > 0 {
		r.last = rows[len(rows)-1].id
	}
	return rows, nil
}

// fits returns what keeps a value from being stored in the column, empty for nothing.
func (w target) fits(v sql.NullString) string {
	switch w.kind {
	case account:
		for _, c := range []byte(v.String) {
			if c <= ' ' || c > '~' {
				return "is not printable ASCII"
			}
		}
		if v.String == "" {
			return "is empty"
		}
		if len(v.String) > w.limit {
			return fmt.Sprintf("is longer than %d characters", w.limit)
		}
	case text, gender:
		if !utf8.ValidString(v.String) {
			return "is not UTF-8"
		}
		if utf8.RuneCountInString(v.String) > w.limit {
			return fmt.Sprintf("is longer than %d characters", w.limit)
		}
	case flag, number:
		bits := 32
		if w.kind == flag {
			bits = 8
		}
		if _, err := strconv.ParseInt(v.String, 10, bits); v.Valid && err != nil {
			return "is out of range"
		}
	}
	return ""
}

// survey looks at all rows that are left to do: what of them would change, and, into r, what cannot be kept.
func (t *takeover) survey(ctx context.Context, tab table, r *Refusal) (*findings, error) {
	f := &findings{resumed: tab.state == widened, emoji: map[string]int{}, nulls: map[string]int{}, kept: tab.kept(t.want)}
	reader := t.newReader(tab, false)
	f.columns = reader.columns
	for {
		rows, err := reader.next(ctx, t.conn)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			return f, nil
		}
		f.rows += len(rows)
		for _, row := range rows {
			for i, w := range reader.columns {
				v := row.values[i]
				if why := w.fits(v); why != "" {
					r.rows(w.Name+" "+why, strconv.FormatInt(row.id, 10))
					continue
				}
				f.note(w, v)
			}
		}
	}
}

// checkTwins notes in r openids that are there twice, and those that would be two users instead of one.
func (t *takeover) checkTwins(ctx context.Context, r *Refusal) error {
	const openid = "CONVERT(`openid` USING utf8mb4) COLLATE utf8mb4_bin"
	for _, twins := range []struct{ what, same, and string }{
		{"the openid is there more than once", openid, ""},
		{"the openids differ only in upper and lower case (--keep-twins takes them for different users)", "LOWER(" + openid + ")", " AND COUNT(DISTINCT " + openid + ") > 1"},
	} {
		if t.KeepTwins && twins.and != "" {
			continue
		}
		err := query(ctx, t.conn, func(rows *sql.Rows) error {
			var ids string
			if err := rows.Scan(&ids); err != nil {
				return err
			}
			r.rows(twins.what, ids)
			return nil
		}, fmt.Sprintf("SELECT GROUP_CONCAT(`id` ORDER BY `id` SEPARATOR ' and ') FROM `wx_userinfo` WHERE `openid` <> '' GROUP BY %s HAVING COUNT(*) > 1%s ORDER BY MIN(`id`)", twins.same, twins.and))
		if err != nil {
			return wrap("look for twins", err)
		}
	}
	return nil
}

// progressEvery is how many rows there are between two lines of progress.
const progressEvery = 10_000

// convertAll gives the rows that are left their new values. Each batch is a transaction, and marks its rows as done by their epoch.
func (t *takeover) convertAll(ctx context.Context, total int) error {
	tab, err := inspect(ctx, t.conn)
	if err != nil {
		return err
	}
	now := t.Now().UTC().Truncate(time.Millisecond)
	reader := t.newReader(tab, true)
	for done := 0; ; {
		n, err := t.convertBatch(ctx, reader, now)
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

func (t *takeover) convertBatch(ctx context.Context, reader *reader, now time.Time) (int, error) {
	tx, err := t.conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // after Commit it does nothing; before it, another error is told
	rows, err := reader.next(ctx, tx)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	statement, args := t.update(reader.columns, rows, now)
	if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
		return 0, err
	}
	t.step("uncommitted rows")
	return len(rows), tx.Commit()
}

// update returns the statement that converts the rows. Values that are each row's own are listed by id; NULLs get the column's default.
func (t *takeover) update(columns []target, rows []row, now time.Time) (string, []any) {
	var sets []string
	var args []any
	for i, w := range columns {
		if w.preset == "" {
			continue // the openid: it is as it was
		}
		otherwise := fmt.Sprintf("COALESCE(`%s`, %s)", w.Name, w.preset)
		var cases strings.Builder
		for _, row := range rows {
			old := row.values[i].String
			if converted := w.convert(old); converted != old {
				cases.WriteString(" WHEN ? THEN ?")
				args = append(args, row.id, converted)
			}
		}
		if cases.Len() > 0 {
			otherwise = "CASE `id`" + cases.String() + " ELSE " + otherwise + " END"
		}
		sets = append(sets, fmt.Sprintf("`%s` = %s", w.Name, otherwise))
	}
	for _, w := range t.want {
		if w.kind == moment {
			sets = append(sets, fmt.Sprintf("`%s` = COALESCE(`%[1]s`, ?)", w.Name))
			args = append(args, now)
		}
	}
	sets = append(sets, "`session_epoch` = CASE `id`"+strings.Repeat(" WHEN ? THEN ?", len(rows))+" END")
	for _, row := range rows {
		args = append(args, row.id, model.NewEpoch())
	}
	args = append(args, rows[0].id, rows[len(rows)-1].id)
	return "UPDATE `wx_userinfo` SET " + strings.Join(sets, ", ") + " WHERE `id` BETWEEN ? AND ? AND `session_epoch` IS NULL", args
}

// convert returns what is stored for an old value that is not NULL.
func (w target) convert(old string) string {
	switch {
	case w.kind == gender:
		digit, _ := genderDigit(old)
		return digit
	case wording[w.Name]:
		return unescape(old)
	}
	return old
}
