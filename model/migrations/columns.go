package migrations

import (
	"fmt"
	"regexp"
	"strings"
)

const firstMigration = "mysql/00001_wx_userinfo.sql"

// Column is a column of wx_userinfo.
type Column struct {
	Name       string
	Definition string // as MySQL has it in CREATE TABLE after the name, such as "int NOT NULL DEFAULT 5 COMMENT 'how many'"
}

var columnLine = regexp.MustCompile("^  `([a-z0-9_]+)` (.+?),?$")

// FirstColumns returns the columns of wx_userinfo, in their order, as the first MySQL migration makes them.
func FirstColumns() ([]Column, error) {
	text, err := files.ReadFile(firstMigration)
	if err != nil {
		return nil, fmt.Errorf("migrations: read %s: %w", firstMigration, err)
	}
	var columns []Column
	for line := range strings.Lines(string(text)) {
		if m := columnLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			columns = append(columns, Column{Name: m[1], Definition: m[2]})
		}
	}
	return columns, nil
}
