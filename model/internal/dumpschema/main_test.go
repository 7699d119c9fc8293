package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommittedSchemaIsThatOfTheMigrations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schema.sql")
	if err := run(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run make gen (-migrations +schema.sql):\n%s", diff)
	}
}

func TestNormalise(t *testing.T) {
	const (
		flag    = "  `b` tinyint(1) NOT NULL DEFAULT 1,\n"
		charset = " DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
		want    = "CREATE TABLE `t` (\n  `n` int NOT NULL DEFAULT 5,\n" + flag +
			"  `s` varchar(16) NOT NULL DEFAULT ''\n) ENGINE=InnoDB" + charset
	)
	for _, column := range []string{
		"varchar(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
		"varchar(16) COLLATE utf8mb4_unicode_ci",
	} {
		ddl := "CREATE TABLE `t` (\n  `n` int(11) NOT NULL DEFAULT 5,\n" + flag +
			"  `s` " + column + " NOT NULL DEFAULT ''\n) ENGINE=InnoDB AUTO_INCREMENT=3" + charset
		if diff := cmp.Diff(want, normalise(ddl)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", column, diff)
		}
	}
}
