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
	preset string // the default, which replaces NULL
}

// kind determines how values of a column are checked and converted.
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
	preset   = regexp.MustCompile(`DEFAULT (?:'([^']*)'|(-?\d+))`)
	special  = map[string]kind{"id": key, "openid": account, "gender": gender, "session_epoch": epoch}
)

// targets returns the columns of the first migration.
func targets() ([]target, error) {
	columns, err := migrations.FirstColumns()
	if err != nil {
		return nil, err
	}
	var all []target
	for _, c := range columns {
		w := target{Column: c}
		if m := preset.FindStringSubmatch(c.Definition); m != nil {
			w.preset = m[1] + m[2]
		}
		m := textType.FindStringSubmatch(c.Definition)
		switch {
		case m != nil:
			w.kind = text
			w.limit, _ = strconv.Atoi(m[1])
			if !strings.Contains(c.Definition, "CHARACTER SET") { // or the old charset would stay
				w.Definition = m[0] + " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci" +
					c.Definition[len(m[0]):]
			}
		case strings.HasPrefix(c.Definition, "tinyint"):
			w.kind = flag
		case strings.HasPrefix(c.Definition, "int"):
			w.kind = number
		case strings.HasPrefix(c.Definition, "datetime"):
			w.kind = moment
		}
		if k, ok := special[c.Name]; ok {
			w.kind = k
		} else if w.kind == key {
			return nil, fmt.Errorf("takeover: cannot fill column %s %s", c.Name, c.Definition)
		}
		all = append(all, w)
	}
	return all, nil
}

// takes reports whether values of an old column with this data type can be kept. survey checks each
// value.
func (w target) takes(dataType string) bool {
	types := "tinyint smallint mediumint int bigint"
	switch w.kind {
	case account, text, gender:
		types = "char varchar tinytext text mediumtext longtext varbinary"
	case moment:
		types = "datetime timestamp"
	}
	return slices.Contains(strings.Fields(types), dataType)
}

// state is the progress of a takeover.
type state int

const (
	absent    state = iota // no table
	untouched              // as the legacy service left it
	widened                // the columns have their types; some rows have no session epoch
	taken                  // this service's
)

// table describes the existing wx_userinfo.
type table struct {
	state   state
	columns map[string]column
	checked []target          // columns whose values are checked and converted
	kept    []string          // columns that this service does not use
	indexes map[string]string // comma-separated columns by the index's name
}

type column struct {
	dataType string
	nullable bool
	filled   bool // has a value after an INSERT without the column
}

func (t *takeover) inspect(ctx context.Context) (table, error) {
	tab := table{columns: map[string]column{}, indexes: map[string]string{}}
	err := query(ctx, t.conn, func(rows *sql.Rows) error {
		var name string
		var c column
		if err := rows.Scan(&name, &c.dataType, &c.nullable, &c.filled); err != nil {
			return err
		}
		tab.columns[name] = c
		if !slices.ContainsFunc(t.targets, func(w target) bool { return w.Name == name }) {
			tab.kept = append(tab.kept, name)
		}
		return nil
	}, `SELECT column_name, LOWER(data_type), is_nullable = 'YES', is_nullable = 'YES' OR
			column_default IS NOT NULL OR extra LIKE '%auto_increment%' OR extra LIKE '%generated%'
		FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' ORDER BY ordinal_position`)
	if err != nil {
		return table{}, wrap("read the columns of wx_userinfo", err)
	}
	err = query(ctx, t.conn, func(rows *sql.Rows) error {
		var index, column string
		err := rows.Scan(&index, &column)
		tab.indexes[index] = column
		return err
	}, `SELECT index_name, GROUP_CONCAT(COALESCE(column_name, '') ORDER BY seq_in_index)
		FROM information_schema.statistics
		WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' GROUP BY index_name`)
	if err != nil {
		return table{}, wrap("read the indexes of wx_userinfo", err)
	}
	for _, w := range t.targets {
		_, there := tab.columns[w.Name]
		if there && w.kind != key && w.kind != epoch && w.kind != moment {
			tab.checked = append(tab.checked, w)
		}
	}
	mark, begun := tab.columns["session_epoch"]
	switch {
	case len(tab.columns) == 0:
		tab.state = absent
	case !begun:
		tab.state = untouched
	case mark.nullable:
		tab.state = widened
	default:
		tab.state = taken
	}
	return tab, nil
}

// checkShape returns an error if the table is not the legacy service's. It adds columns that
// prevent a takeover to r.
func (t table) checkShape(targets []target, r *Refusal) error {
	var lacks []string
	for _, name := range []string{"id", "openid", "nick_name", "avatar_url", "gender"} {
		if _, ok := t.columns[name]; !ok {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("%w, and it is not the legacy service's: it lacks %s",
			migrations.ErrForeignTable, strings.Join(lacks, ", "))
	}
	if t.indexes["PRIMARY"] != "id" {
		return fmt.Errorf("%w, and it is not the legacy service's: its primary key is not id",
			migrations.ErrForeignTable)
	}
	for _, w := range targets {
		if old, ok := t.columns[w.Name]; ok && !w.takes(old.dataType) {
			r.add(fmt.Sprintf("column %s is %s and cannot be converted to %s",
				w.Name, old.dataType, w.Definition))
		}
	}
	for _, name := range t.kept {
		if !t.columns[name].filled {
			r.add("column " + name + " is NOT NULL without a default, so new users could not be " +
				"stored: give it a default")
		}
	}
	return nil
}

// widen returns the statement that gives the columns their types. It is one ALTER TABLE, because
// that is atomic. It sets the row format, because in an old one, which the table would keep, an
// index holds only 767 bytes: 191 characters of utf8mb4.
func (t table) widen(targets []target) string {
	var parts []string
	for _, w := range targets {
		how, definition := "ADD", w.Definition
		if _, ok := t.columns[w.Name]; ok {
			how = "MODIFY"
		}
		if w.kind != key && w.kind != account { // these two are never NULL
			definition = strings.Replace(definition, " NOT NULL", " NULL", 1)
		}
		parts = append(parts, fmt.Sprintf("%s COLUMN `%s` %s", how, w.Name, definition))
	}
	for _, name := range slices.Sorted(maps.Keys(t.indexes)) {
		if t.indexes[name] == "openid" {
			parts = append(parts, "DROP INDEX `"+strings.ReplaceAll(name, "`", "``")+"`")
		}
	}
	return "ALTER TABLE `wx_userinfo` " + strings.Join(parts, ", ") +
		", ADD UNIQUE KEY `uk_wx_userinfo_openid` (`openid`), ENGINE=InnoDB, ROW_FORMAT=DYNAMIC, " +
		"DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
}

// finishing returns the statement that forbids NULL.
func finishing(targets []target) string {
	var parts []string
	for _, w := range targets {
		parts = append(parts, fmt.Sprintf("MODIFY COLUMN `%s` %s", w.Name, w.Definition))
	}
	return "ALTER TABLE `wx_userinfo` " + strings.Join(parts, ", ")
}

// querier is a connection or a transaction on it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// query calls each for every row.
func query(
	ctx context.Context, conn querier, each func(*sql.Rows) error, q string, args ...any,
) error {
	rows, err := conn.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // rows.Err reports the failure
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
