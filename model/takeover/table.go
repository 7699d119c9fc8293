package takeover

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"shares/model/migrations"
)

// target is a column of this service's table.
type target struct {
	migrations.Column
	kind   kind
	limit  int    // of texts, in characters
	preset string // the default as SQL, empty for none
}

// kind says how values of a column are checked and converted.
type kind int

const (
	key     kind = iota // the row's id
	account             // the openid
	text
	gender
	flag   // tinyint
	number // int
	moment // datetime
	epoch
)

var (
	textType = regexp.MustCompile(`^varchar\((\d+)\)`)
	preset   = regexp.MustCompile(`DEFAULT ('[^']*'|-?\d+)`)
)

// targets returns the columns that the first migration makes.
func targets() ([]target, error) {
	columns, err := migrations.FirstColumns()
	if err != nil {
		return nil, err
	}
	var want []target
	for _, c := range columns {
		w := target{Column: c}
		if m := preset.FindStringSubmatch(c.Definition); m != nil {
			w.preset = m[1]
		}
		m := textType.FindStringSubmatch(c.Definition)
		switch {
		case c.Name == "id":
			w.kind = key
		case c.Name == "session_epoch":
			w.kind = epoch
		case m != nil:
			w.limit, _ = strconv.Atoi(m[1])
			w.kind = text
			if c.Name == "openid" {
				w.kind = account
			} else if c.Name == "gender" {
				w.kind = gender
			}
			if !strings.Contains(c.Definition, "CHARACTER SET") { // else the table's, and in the old one that may be any
				w.Definition = m[0] + " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci" + c.Definition[len(m[0]):]
			}
		case strings.HasPrefix(c.Definition, "tinyint"):
			w.kind = flag
		case strings.HasPrefix(c.Definition, "int"):
			w.kind = number
		case strings.HasPrefix(c.Definition, "datetime"):
			w.kind = moment
		default:
			return nil, fmt.Errorf("takeover: no way to fill column %s %s", c.Name, c.Definition)
		}
		want = append(want, w)
	}
	return want, nil
}

// nullable returns the column's definition while its rows are still being filled.
func (w target) nullable() string {
	if w.kind == key || w.kind == account { // never NULL
		return w.Definition
	}
	return strings.Replace(w.Definition, " NOT NULL", " NULL", 1)
}

// takes tells whether values of an old column of that data type can be kept in the new one. Whether each fits is for the survey.
func (w target) takes(dataType string) bool {
	switch w.kind {
	case account, text, gender:
		return slices.Contains([]string{"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "varbinary"}, dataType)
	case moment:
		return dataType == "datetime" || dataType == "timestamp"
	default:
		return slices.Contains([]string{"tinyint", "smallint", "mediumint", "int", "bigint"}, dataType)
	}
}

// state tells how far a takeover is.
type state int

const (
	absent    state = iota // there is no table
	untouched              // as another system left it
	widened                // its columns have their types; rows without a session epoch are left to do
	taken                  // this service's
)

// table is the wx_userinfo that is there.
type table struct {
	state   state
	columns map[string]column
	order   []string            // of the columns
	indexes map[string][]string // columns by the name of the index
}

type column struct {
	dataType, extra string
	nullable        bool
	preset          sql.NullString
}

const unique = "uk_wx_userinfo_openid"

func inspect(ctx context.Context, conn *sql.Conn) (table, error) {
	t := table{columns: map[string]column{}, indexes: map[string][]string{}}
	err := query(ctx, conn, func(rows *sql.Rows) error {
		var name string
		var c column
		if err := rows.Scan(&name, &c.dataType, &c.extra, &c.nullable, &c.preset); err != nil {
			return err
		}
		t.columns[name] = c
		t.order = append(t.order, name)
		return nil
	}, `SELECT column_name, LOWER(data_type), LOWER(extra), is_nullable = 'YES', column_default FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' ORDER BY ordinal_position`)
	if err != nil {
		return table{}, wrap("read the columns of wx_userinfo", err)
	}
	err = query(ctx, conn, func(rows *sql.Rows) error {
		var index, column string
		if err := rows.Scan(&index, &column); err != nil {
			return err
		}
		t.indexes[index] = append(t.indexes[index], column)
		return nil
	}, `SELECT index_name, COALESCE(column_name, '') FROM information_schema.statistics
		WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' ORDER BY index_name, seq_in_index`)
	if err != nil {
		return table{}, wrap("read the indexes of wx_userinfo", err)
	}
	epoch, begun := t.columns["session_epoch"]
	switch {
	case len(t.columns) == 0:
		t.state = absent
	case !begun:
		t.state = untouched
	case epoch.nullable:
		t.state = widened
	default:
		t.state = taken
	}
	return t, nil
}

// checkShape returns an error for a table that is not the first system's, and notes in r what keeps one that is from being taken over.
func (t table) checkShape(want []target, r *Refusal) error {
	var lacks []string
	for _, name := range []string{"id", "openid", "nick_name", "avatar_url", "gender"} {
		if _, ok := t.columns[name]; !ok {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("%w, nor the first one: it lacks %s", migrations.ErrForeignTable, strings.Join(lacks, ", "))
	}
	if !slices.Equal(t.indexes["PRIMARY"], []string{"id"}) {
		return fmt.Errorf("%w, nor the first one: id is not its primary key", migrations.ErrForeignTable)
	}
	ours := map[string]bool{}
	for _, w := range want {
		ours[w.Name] = true
		if old, ok := t.columns[w.Name]; ok && !w.takes(old.dataType) {
			r.add("column %s is %s: it cannot be turned into %s", w.Name, old.dataType, w.Definition)
		}
	}
	for _, name := range t.order {
		c := t.columns[name]
		filled := c.nullable || c.preset.Valid || strings.Contains(c.extra, "auto_increment") || strings.Contains(c.extra, "generated")
		if !ours[name] && !filled {
			r.add("column %s, which is kept, may not be NULL and has no default: new users could not be stored; give it one", name)
		}
	}
	return nil
}

// kept returns the columns that this service does not know. They stay.
func (t table) kept(want []target) []string {
	return slices.DeleteFunc(slices.Clone(t.order), func(name string) bool {
		return slices.ContainsFunc(want, func(w target) bool { return w.Name == name })
	})
}

// widen returns the statement that gives the columns their types. It is one, because each ALTER TABLE is kept or undone as a whole. The
// row format is named because in an old one, which the table would keep, an index holds 767 bytes: 191 characters of utf8mb4.
func (t table) widen(want []target) string {
	var parts []string
	for _, w := range want {
		how := "ADD COLUMN"
		if _, ok := t.columns[w.Name]; ok {
			how = "MODIFY COLUMN"
		}
		parts = append(parts, fmt.Sprintf("%s `%s` %s", how, w.Name, w.nullable()))
	}
	for _, name := range slices.Sorted(maps.Keys(t.indexes)) {
		if slices.Equal(t.indexes[name], []string{"openid"}) {
			parts = append(parts, "DROP INDEX `"+strings.ReplaceAll(name, "`", "``")+"`")
		}
	}
	parts = append(parts, "ADD UNIQUE KEY `"+unique+"` (`openid`)",
		"ENGINE=InnoDB", "ROW_FORMAT=DYNAMIC", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
	return "ALTER TABLE `wx_userinfo` " + strings.Join(parts, ", ")
}

// finishing returns the statement that forbids NULL.
func finishing(want []target) string {
	var parts []string
	for _, w := range want {
		parts = append(parts, fmt.Sprintf("MODIFY COLUMN `%s` %s", w.Name, w.Definition))
	}
	return "ALTER TABLE `wx_userinfo` " + strings.Join(parts, ", ")
}

// query calls each for every row.
func query(ctx context.Context, conn querier, each func(*sql.Rows) error, q string, args ...any) error {
	rows, err := conn.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // rows.Err tells what matters
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// querier is a connection or a transaction on it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}
