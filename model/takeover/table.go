package takeover

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"shares/model/migrations"
)

// column is a column of this service's table.
type column struct {
	name, definition string // the definition is that of CREATE TABLE
	preset           string // the default, as SQL; empty for none
	length           string // of a varchar, in characters; empty for other types
	old              string // the legacy service's column, quoted; empty if it has none
	oldType          string
}

// table describes the legacy service's wx_userinfo.
type table struct {
	columns []column
	kept    []string // columns that this service does not use, quoted
	stored  []string // those of kept that are not computed from others
	indexes []string // on openid alone, quoted
	ddl     string
}

var (
	ourColumn = regexp.MustCompile("(?m)^  `([a-z0-9_]+)` ((?:varchar\\((\\d+)\\))?.*?),?$")
	preset    = regexp.MustCompile(`DEFAULT ('[^']*'|-?\d+)`)
	oldColumn = regexp.MustCompile("(?m)^  (`(?:[^`]|``)+`) (\\S+)(.*)$")
	oldIndex  = regexp.MustCompile("(?m)^  .*KEY (`(?:[^`]|``)+`) \\(`openid`(?:\\(\\d+\\))?\\)")
	engine    = regexp.MustCompile(`(?m)^\) ENGINE=\w+`)
)

// inspect reads the table's definition. It returns migrations.ErrForeignTable if the table is not
// the legacy service's.
func (t *takeover) inspect(ctx context.Context) (table, error) {
	var tab table
	err := t.db.QueryRowContext(ctx, "SHOW CREATE TABLE `wx_userinfo`").Scan(new(string), &tab.ddl)
	if err != nil {
		return tab, wrap("read the definition of wx_userinfo", err)
	}
	types := map[string]string{}
	for _, m := range oldColumn.FindAllStringSubmatch(tab.ddl, -1) {
		types[m[1]] = m[2]
		if strings.Contains(migrations.First, "  "+m[1]) {
			continue
		}
		tab.kept = append(tab.kept, m[1])
		if !strings.Contains(m[3], "GENERATED ALWAYS AS (") {
			tab.stored = append(tab.stored, m[1])
		}
	}
	for _, m := range ourColumn.FindAllStringSubmatch(migrations.First, -1) {
		c := column{name: m[1], definition: m[2], length: m[3]}
		if d := preset.FindStringSubmatch(m[2]); d != nil {
			c.preset = d[1]
		}
		if oldType, ok := types["`"+c.name+"`"]; ok {
			c.old, c.oldType = "`"+c.name+"`", oldType
		}
		tab.columns = append(tab.columns, c)
	}
	for _, m := range oldIndex.FindAllStringSubmatch(tab.ddl, -1) {
		tab.indexes = append(tab.indexes, m[1])
	}
	var lacks []string
	for _, name := range []string{"`id`", "`openid`", "`nick_name`", "`avatar_url`", "`gender`"} {
		if types[name] == "" {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) > 0 || !strings.Contains(tab.ddl, "PRIMARY KEY (`id`)") {
		return tab, fmt.Errorf("%w, and it is not the legacy service's: it has columns %q and not %q, "+
			"or its primary key is not id", migrations.ErrForeignTable, slices.Sorted(maps.Keys(types)), lacks)
	}
	return tab, nil
}

// text returns the old value of a text column in the connection's character set.
func (c column) text() string { return "CONVERT(" + c.old + " USING utf8mb4)" }

// value returns the new value, as SQL; empty for the column's default.
func (c column) value() string {
	switch {
	case c.name == "session_epoch":
		// 64 random bits for each row, because the text in front of the id is secret and random.
		return "CAST(CONV(LEFT(SHA2(CONCAT('" + rand.Text() + "', `id`), 256), 16), 16, -10) AS SIGNED)"
	case c.name == "gender":
		return "CASE TRIM(" + c.text() + ") WHEN '男' THEN '1' WHEN '女' THEN '2' WHEN '未知' THEN '0' " +
			"WHEN '0' THEN '0' WHEN '1' THEN '1' WHEN '2' THEN '2' ELSE '' END"
	case strings.HasPrefix(c.definition, "datetime") && c.old == "":
		return "UTC_TIMESTAMP(3)"
	case strings.HasPrefix(c.definition, "datetime"):
		return "COALESCE(" + c.old + ", UTC_TIMESTAMP(3))"
	case c.old != "" && c.preset == "":
		return c.old
	case c.old != "" && c.length != "":
		return "COALESCE(" + c.text() + ", " + c.preset + ")"
	case c.old != "":
		return "COALESCE(" + c.old + ", " + c.preset + ")"
	}
	return ""
}

// copying returns the statements that make the new table and copy the rows. The row format is set,
// because in an old one an index holds only 767 bytes: 191 characters of utf8mb4. MariaDB refuses
// CREATE TABLE ... LIKE in a Galera cluster's strict mode.
func (t table) copying() []string {
	options := "ROW_FORMAT=DYNAMIC, DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
	for _, index := range t.indexes {
		options += ", DROP INDEX " + index
	}
	changes := "ADD UNIQUE KEY `uk_wx_userinfo_openid` (`openid`)"
	into, values := slices.Clone(t.stored), slices.Clone(t.stored)
	for _, c := range t.columns {
		how := "MODIFY"
		if c.old == "" {
			how = "ADD"
		}
		changes += fmt.Sprintf(", %s COLUMN `%s` %s", how, c.name, c.definition)
		if value := c.value(); value != "" {
			into, values = append(into, "`"+c.name+"`"), append(values, value)
		}
	}
	return []string{
		"DROP TABLE IF EXISTS `wx_userinfo_new`", // of a killed run
		engine.ReplaceAllString(strings.Replace(t.ddl, "`wx_userinfo`", "`wx_userinfo_new`", 1),
			") ENGINE=InnoDB"),
		"ALTER TABLE `wx_userinfo_new` " + options,
		"ALTER TABLE `wx_userinfo_new` " + changes, // text columns get the table's character set
		"INSERT INTO `wx_userinfo_new` (" + strings.Join(into, ", ") + ") SELECT " +
			strings.Join(values, ", ") + " FROM `wx_userinfo` ORDER BY `id`",
	}
}
