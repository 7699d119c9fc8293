package takeover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// finding is a kind of row, column or table that a takeover changes or refuses.
type finding struct {
	what string
	from string // the FROM clause of a query that returns the ids of rows, or names, as id
}

// rows returns a finding of rows of the legacy service's table.
func rows(what, where string) finding { return finding{what, "`wx_userinfo` WHERE " + where} }

// count returns the number of ids or names in a finding, and the first 20.
func (t *takeover) count(ctx context.Context, f finding) (n int, first string, err error) {
	err = t.db.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUBSTRING_INDEX(GROUP_CONCAT(`id` "+
		"ORDER BY `id` SEPARATOR ', '), ', ', 20), '') FROM "+f.from).Scan(&n, &first)
	if err != nil {
		return 0, "", wrap("look for "+f.what, err)
	}
	if n > 20 {
		first += fmt.Sprintf(", … (%d)", n)
	}
	return n, first, nil
}

// refuse returns an error that lists the faults to fix before a takeover.
func (t *takeover) refuse(ctx context.Context, tab table) error {
	text := "takeover: nothing was changed; fix these faults of wx_userinfo first:"
	faulty := false
	for _, f := range t.faults(tab) {
		n, first, err := t.count(ctx, f)
		if err != nil {
			return err
		}
		if n > 0 {
			faulty = true
			text += "\n  " + f.what + ": " + first
		}
	}
	if faulty {
		return errors.New(text)
	}
	return nil
}

// faults returns what cannot be kept.
func (t *takeover) faults(tab table) []finding {
	all := tab.inTheWay()
	for _, c := range tab.columns {
		switch {
		case c.name == "id" || c.name == "session_epoch" || c.old == "":
		case c.length != "":
			all = append(all, rows("rows whose "+c.name+" is longer than "+c.length+" characters",
				"CHAR_LENGTH("+c.text()+") > "+c.length))
			if strings.Contains(c.oldType, "binary") || strings.Contains(c.oldType, "blob") {
				all = append(all, rows("rows whose "+c.name+" is not UTF-8",
					c.old+" IS NOT NULL AND NOT CAST("+c.text()+" AS BINARY) <=> "+c.old))
			}
		case strings.HasPrefix(c.definition, "datetime"):
			all = append(all, rows("rows whose "+c.name+" is not a time",
				c.old+" IS NOT NULL AND CAST("+c.old+" AS DATETIME(3)) IS NULL"))
		default:
			least, most := "-2147483648", "2147483647"
			if strings.HasPrefix(c.definition, "tinyint") {
				least, most = "-128", "127"
			}
			all = append(all, rows("rows whose "+c.name+" is not a number from "+least+" to "+most,
				c.old+" NOT BETWEEN "+least+" AND "+most+" OR "+c.text()+" REGEXP '[^-0-9]'"))
		}
	}
	const openid = "CONVERT(`openid` USING utf8mb4) COLLATE utf8mb4_bin"
	// groups finds rows with equal keys, and returns the ids of each group as one.
	groups := func(what, key, having string) finding {
		return finding{what, "(SELECT GROUP_CONCAT(`id` ORDER BY `id` SEPARATOR ' and ') AS `id` " +
			"FROM `wx_userinfo` WHERE `openid` <> '' GROUP BY " + key + " HAVING " + having + ") AS found"}
	}
	all = append(all,
		rows("rows whose openid is empty", "COALESCE(`openid`, '') = ''"),
		rows("rows whose openid is not printable ASCII", openid+" REGEXP '[^!-~]'"),
		groups("rows with the same openid", openid, "COUNT(*) > 1"))
	if !t.KeepTwins {
		all = append(all, groups("rows whose openids differ only in case (--keep-twins keeps them as "+
			"different users)", "LOWER("+openid+")", "COUNT(DISTINCT "+openid+") > 1"))
	}
	return all
}

// inTheWay returns columns, keys, triggers and tables that prevent a takeover.
func (t table) inTheWay() []finding {
	names := "''"
	for _, c := range t.columns {
		names += ", '" + c.name + "'"
	}
	return []finding{
		{"columns that are NOT NULL without a default, so new users could not be stored",
			`(SELECT column_name AS id FROM information_schema.columns
			WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' AND is_nullable = 'NO'
				AND column_default IS NULL AND COALESCE(generation_expression, '') = ''
				AND column_name NOT IN (` + names + `)) AS found`},
		{"foreign keys and triggers, which would be lost",
			`(SELECT constraint_name AS id FROM information_schema.key_column_usage
			WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL
				AND 'wx_userinfo' IN (table_name, referenced_table_name)
			UNION SELECT trigger_name FROM information_schema.triggers
			WHERE event_object_schema = DATABASE() AND event_object_table = 'wx_userinfo') AS found`},
		{"tables whose name is needed, to be dropped or renamed",
			`(SELECT table_name AS id FROM information_schema.tables
			WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo_legacy') AS found`},
	}
}

// report prints the changes.
func (t *takeover) report(ctx context.Context, tab table) error {
	const gender = "TRIM(CONVERT(`gender` USING utf8mb4))"
	var words, nulls []string
	for _, c := range tab.columns {
		if c.old != "" && c.preset != "" {
			nulls = append(nulls, c.old+" IS NULL")
		}
		if c.old != "" && slices.Contains(wording, c.name) {
			words = append(words, c.text())
		}
	}
	fmt.Fprintln(t.Out, "wx_userinfo is the legacy service's table")
	for _, f := range []finding{
		rows("rows get a session_epoch: all users log in again", "TRUE"),
		rows("rows with NULL, which becomes the column's default", strings.Join(nulls, " OR ")),
		rows("rows with emoji stored as text", "CONCAT_WS('|', "+strings.Join(words, ", ")+
			") REGEXP '"+strings.ReplaceAll(emoji, `\`, `\\`)+"'"),
		rows("genders become a digit", gender+" IN ('男', '女', '未知')"),
		rows("unknown genders are cleared",
			gender+" NOT IN ('男', '女', '未知', '0', '1', '2', '')"),
	} {
		n, _, err := t.count(ctx, f)
		if err != nil {
			return err
		}
		fmt.Fprintf(t.Out, "  %7d %s\n", n, f.what)
	}
	if len(tab.kept) > 0 {
		fmt.Fprintln(t.Out, "  unchanged columns:", strings.Join(tab.kept, ", "))
	}
	return nil
}
