package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func TestCommittedSchemaIsThatOfTheMigrations(t *testing.T) {
	want, err := dump(t.Context(), testenv.MariaDB(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run make gen (-migrations +schema.sql):\n%s", diff)
	}
}

func TestRunWritesTheCommittedSchema(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schema.sql")
	if err := run(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNormaliseTakesOutWhatServersPrintDifferently(t *testing.T) {
	const want = "CREATE TABLE `t` (\n  `id` bigint NOT NULL AUTO_INCREMENT,\n  `n` int NOT NULL DEFAULT 5,\n  `b` tinyint(1) NOT NULL DEFAULT 1,\n" +
		"  `s` varchar(16) NOT NULL DEFAULT '',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
	for name, ddl := range map[string]string{
		"MySQL 5.7": "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  `n` int(11) NOT NULL DEFAULT '5',\n  `b` tinyint(1) NOT NULL DEFAULT '1',\n" +
			"  `s` varchar(16) COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT '',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
		"MySQL 8": "CREATE TABLE `t` (\n  `id` bigint NOT NULL AUTO_INCREMENT,\n  `n` int NOT NULL DEFAULT '5',\n  `b` tinyint(1) NOT NULL DEFAULT '1',\n" +
			"  `s` varchar(16) COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT '',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
		"MariaDB": "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  `n` int(11) NOT NULL DEFAULT 5,\n  `b` tinyint(1) NOT NULL DEFAULT 1,\n" +
			"  `s` varchar(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT '',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
	} {
		if diff := cmp.Diff(want, normalise(ddl)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
