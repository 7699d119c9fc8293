package takeover

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeromicro/go-zero/core/stores/cache"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
	"golang.org/x/sync/errgroup"

	"shares/internal/testenv"
	"shares/model"
	"shares/model/migrations"
)

// The test binary is also the migrator that is killed: if childDSN is set, it takes over the table,
// and kills itself when it prints childStep.
const (
	childDSN  = "TAKEOVER_TEST_DSN"
	childStep = "TAKEOVER_TEST_STEP"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		if err := beMigrator(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	sqlx.DisableLog()
	os.Exit(testenv.Main(m))
}

// writer calls a function with each line that is printed.
type writer func(line string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

func beMigrator(dsn string) error {
	db, err := model.OpenMySQL(dsn, model.MySQLOptions{Timeout: time.Minute})
	if err != nil {
		return err
	}
	return Run(context.Background(), db, Options{Out: writer(func(line string) {
		if strings.Contains(line, os.Getenv(childStep)) {
			if self, err := os.FindProcess(os.Getpid()); err == nil {
				self.Kill()
			}
			select {} // until the signal arrives
		}
	})})
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := model.OpenMySQL(dsn, model.MySQLOptions{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mariaDB(t *testing.T) *sql.DB {
	t.Helper()
	return open(t, testenv.MariaDB(t).Database(t))
}

func exec1(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
}

// firstTable creates the table of the legacy service.
const firstTable = "CREATE TABLE `wx_userinfo` (\n" +
	"  `id` int(11) NOT NULL AUTO_INCREMENT,\n" +
	"  `openid` varchar(255) DEFAULT NULL,\n" +
	"  `nick_name` varchar(255) DEFAULT NULL,\n" +
	"  `avatar_url` varchar(255) DEFAULT NULL,\n" +
	"  `gender` varchar(16) DEFAULT NULL,\n" +
	"  `city` varchar(255) DEFAULT NULL,\n" +
	"  `province` varchar(255) DEFAULT NULL,\n" +
	"  `country` varchar(255) DEFAULT NULL,\n" +
	"  `language` varbinary(16) DEFAULT NULL,\n" +
	"  `phone` varchar(255) DEFAULT NULL,\n" +
	"  `group` varchar(255) DEFAULT NULL,\n" +
	"  `rg` tinyint(1) DEFAULT NULL,\n" +
	"  `vip` tinyint(1) DEFAULT NULL,\n" +
	"  `only20` tinyint(1) DEFAULT NULL,\n" +
	"  `capacity` int(11) DEFAULT NULL,\n" +
	"  PRIMARY KEY (`id`),\n" +
	"  UNIQUE KEY `openid` (`openid`)\n" +
	") ENGINE=InnoDB AUTO_INCREMENT=1000 DEFAULT CHARSET=utf8 ROW_FORMAT=COMPACT"

const firstColumns = "`id`, `openid`, `nick_name`, `avatar_url`, `gender`, `city`, `province`, " +
	"`country`, `language`, `phone`, `group`, `rg`, `vip`, `only20`, `capacity`"

// fill inserts seven different users, with gaps between ids, into the legacy service's table.
func fill(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, row := range [][]any{
		{1, "oAbcdefghijklmnopqrstuvwxyz1", `小[\u1f604]明[\u1f469]!`, "https://wx.qlogo.cn/a/132",
			"男", "深圳", "广东", "中国", "zh_CN", "13800138000", "a,b", 1, 1, 0, 20},
		{2, "oB", nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
		{3, "oC", "", "", "", "", "", "", "", "", "", 0, 0, 1, 0},
		{7, "o-D_", `[\u1F604]`, "", "女", `[\u1f30a]城`, `[\u10ffff]`, "", "en", "", "", 1, 0, 0, 5},
		{8, "oE", `[\u41][\u2764][\u110000][\uzzzzz][u1f604]\u1f604`, "", "2", "", "", "", "", "", "",
			0, 1, 1, -1},
		{90, "oF", `[[\u1f604]]`, "", "未知", "", "", "", "", "", "", 1, 0, 0, 5},
		{500, "oG", "g", "", "妖", "", "", "", "", "", "", 1, 0, 0, 5},
	} {
		exec1(t, db, "INSERT INTO `wx_userinfo` ("+firstColumns+") "+
			"VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row...)
	}
}

// filled lists the users of fill after a takeover.
var filled = []string{
	"1|oAbcdefghijklmnopqrstuvwxyz1||小😄明👩!|https://wx.qlogo.cn/a/132|1|深圳|广东|中国|zh_CN|" +
		"13800138000|a,b|1|0|1|20",
	"2|oB|||||||||||1|0|0|5",
	"3|oC|||||||||||0|1|0|0",
	"7|o-D_||😄||2|🌊城|\U0010ffff||en|||1|0|0|5",
	`8|oE||[\u41][\u2764][\u110000][\uzzzzz][u1f604]\u1f604||2|||||||0|1|1|-1`,
	"90|oF||[😄]||0|||||||1|0|0|5",
	"500|oG||g|||||||||1|0|0|5",
}

// users returns all rows, without random values and times.
func users(t *testing.T, db *sql.DB) []string {
	t.Helper()
	return strs(t, db, "SELECT CONCAT_WS('|', `id`, `openid`, `unionid`, `nick_name`, `avatar_url`, "+
		"`gender`, `city`, `province`, `country`, `language`, `phone`, `group`, `rg`, `only20`, `vip`, "+
		"`capacity`) FROM `wx_userinfo` ORDER BY `id`")
}

func strs(t *testing.T, db *sql.DB, q string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func number1(t *testing.T, db *sql.DB, q string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// schema describes the table without the order of its columns, which may differ after a takeover.
func schema(t *testing.T, db *sql.DB) []string {
	t.Helper()
	const ours = "WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo'"
	columns := strs(t, db, `SELECT CONCAT_WS(' ', column_name, column_type, is_nullable,
			COALESCE(column_default, '-'), COALESCE(character_set_name, '-'),
			COALESCE(collation_name, '-'), extra, column_comment)
		FROM information_schema.columns `+ours+" ORDER BY column_name")
	indexes := strs(t, db, `SELECT CONCAT_WS(' ', index_name, seq_in_index, column_name, non_unique,
			COALESCE(sub_part, '-'))
		FROM information_schema.statistics `+ours+" ORDER BY index_name, seq_in_index")
	options := strs(t, db, `SELECT CONCAT_WS(' ', engine, table_collation, row_format)
		FROM information_schema.tables `+ours)
	return slices.Concat(columns, indexes, options)
}

func freshSchema(t *testing.T) []string {
	t.Helper()
	db := mariaDB(t)
	if err := migrations.Migrate(t.Context(), db, migrations.MySQL); err != nil {
		t.Fatal(err)
	}
	return schema(t, db)
}

// checkTaken checks a database after a takeover.
func checkTaken(t *testing.T, db *sql.DB) {
	t.Helper()
	if diff := cmp.Diff(freshSchema(t), schema(t, db)); diff != "" {
		t.Errorf("schema (-fresh +taken over):\n%s", diff)
	}
	pending, err := migrations.Pending(t.Context(), db, migrations.MySQL)
	if err != nil || len(pending) > 0 {
		t.Errorf("pending migrations: %v, %v, want none", pending, err)
	}
	rows := number1(t, db, "SELECT COUNT(*) FROM wx_userinfo")
	epochs := number1(t, db, "SELECT COUNT(DISTINCT NULLIF(session_epoch, 0)) FROM wx_userinfo")
	if epochs != rows {
		t.Errorf("%d different session epochs, want %d", epochs, rows)
	}
}

func mustRun(t *testing.T, db *sql.DB, o Options) {
	t.Helper()
	o.Out = io.Discard
	if err := Run(t.Context(), db, o); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Migrate(t.Context(), db, migrations.MySQL); err != nil {
		t.Fatal(err)
	}
}

func TestTakeOver(t *testing.T) {
	for name, change := range map[string][]string{
		"unchanged": nil,
		"MyISAM":    {"ALTER TABLE wx_userinfo ENGINE=MyISAM"},
		"utf8mb4": {"ALTER TABLE wx_userinfo ROW_FORMAT=DYNAMIC, " +
			"CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"},
		"latin1 openid": {"ALTER TABLE wx_userinfo " +
			"MODIFY openid varchar(255) CHARACTER SET latin1 NOT NULL"},
		"texts": {"ALTER TABLE wx_userinfo MODIFY nick_name text, MODIFY avatar_url longtext, " +
			"MODIFY id bigint unsigned AUTO_INCREMENT"},
		"another index": {"ALTER TABLE wx_userinfo DROP INDEX openid, " +
			"ADD INDEX by_openid (openid), ADD UNIQUE uk_wx_userinfo_openid (openid(20))"},
		"another phone column": {"ALTER TABLE wx_userinfo DROP COLUMN phone, " +
			"ADD COLUMN phone varchar(20) NOT NULL DEFAULT ''",
			"UPDATE wx_userinfo SET phone = '13800138000' WHERE id = 1"},
		"NOT NULL column": {"UPDATE wx_userinfo SET vip = 0 WHERE vip IS NULL",
			"ALTER TABLE wx_userinfo MODIFY vip tinyint(1) NOT NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			db := mariaDB(t)
			exec1(t, db, firstTable)
			fill(t, db)
			for _, q := range change {
				exec1(t, db, q)
			}
			mustRun(t, db, Options{})
			checkTaken(t, db)
			if diff := cmp.Diff(filled, users(t, db)); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if n := number1(t, db, "SELECT COUNT(*) FROM wx_userinfo WHERE last_login_at = created_at "+
				"AND created_at = updated_at AND ABS(updated_at - UTC_TIMESTAMP()) < 100"); n != len(filled) {
				t.Errorf("%d rows have the time of the takeover, want %d", n, len(filled))
			}

			before := users(t, db)
			mustRun(t, db, Options{})
			if diff := cmp.Diff(before, users(t, db)); diff != "" {
				t.Errorf("a second run changed something (-before +after):\n%s", diff)
			}
		})
	}
}

// The model does not depend on the order of columns. New ids follow those of the legacy service.
func TestModelOnATableTakenOver(t *testing.T) {
	db := mariaDB(t)
	exec1(t, db, firstTable)
	fill(t, db)
	mustRun(t, db, Options{})
	m := model.NewWxUserinfoModel(model.NewConn(db, 0), noCache{})
	row, err := m.FindByOpenid(t.Context(), "oAbcdefghijklmnopqrstuvwxyz1")
	if err != nil {
		t.Fatal(err)
	}
	if row.Id != 1 || row.NickName != "小😄明👩!" || row.Capacity != 20 || row.Vip != 1 ||
		row.SessionEpoch == 0 {
		t.Errorf("got %+v, want the converted row", row)
	}
	other := model.Login{Openid: "oaBCDEFGHIJKLMNOPQRSTUVWXYZ1", Capacity: 5}
	who, created, err := m.LogIn(t.Context(), other)
	if err != nil || !created || who.Id != 1000 {
		t.Errorf("an openid that differs in case: %+v, %v, %v, want a new user", who, created, err)
	}
}

func TestOtherColumnsAndIndexesStay(t *testing.T) {
	db := mariaDB(t)
	exec1(t, db, firstTable)
	fill(t, db)
	exec1(t, db, "ALTER TABLE wx_userinfo ADD COLUMN remark varchar(255) DEFAULT 'r', "+
		"ADD COLUMN score int NOT NULL DEFAULT 3, ADD COLUMN double_score int AS (score * 2) STORED, "+
		"ADD COLUMN updated_at timestamp NULL, "+
		"ADD INDEX by_phone (phone), ADD INDEX by_remark (remark)")
	exec1(t, db, "UPDATE wx_userinfo SET remark = '备注', score = id, "+
		"updated_at = '2020-01-02 03:04:05' WHERE id < 10")
	mustRun(t, db, Options{})
	if diff := cmp.Diff(filled, users(t, db)); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	want := []string{
		"1 备注 1 2", "2 备注 2 4", "3 备注 3 6", "7 备注 7 14", "8 备注 8 16", "90 r 3 6", "500 r 3 6",
	}
	got := strs(t, db, "SELECT CONCAT_WS(' ', id, remark, score, double_score) "+
		"FROM wx_userinfo ORDER BY id")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other columns (-want +got):\n%s", diff)
	}
	want = []string{"by_phone", "by_remark", "PRIMARY", "uk_wx_userinfo_openid"}
	got = strs(t, db, "SELECT DISTINCT index_name FROM information_schema.statistics "+
		"WHERE table_schema = DATABASE() AND table_name = 'wx_userinfo' ORDER BY 1")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("indexes (-want +got):\n%s", diff)
	}
	n := number1(t, db, "SELECT COUNT(*) FROM wx_userinfo WHERE updated_at = '2020-01-02 03:04:05'")
	if n != 5 {
		t.Errorf("%d times are unchanged, want 5", n)
	}
}

// stateOf describes everything that a run could change.
func stateOf(t *testing.T, db *sql.DB) []string {
	t.Helper()
	state := strs(t, db, "SELECT table_name FROM information_schema.tables "+
		"WHERE table_schema = DATABASE() AND table_name <> 'goose_lease'")
	if len(state) == 0 {
		return nil
	}
	var name, ddl, sum string
	err := errors.Join(
		db.QueryRowContext(t.Context(), "SHOW CREATE TABLE wx_userinfo").Scan(&name, &ddl),
		db.QueryRowContext(t.Context(), "CHECKSUM TABLE wx_userinfo").Scan(&name, &sum))
	if err != nil {
		t.Fatal(err)
	}
	return append(state, ddl, sum)
}

func TestDryRunReportsChangesAndMakesNone(t *testing.T) {
	db := mariaDB(t)
	exec1(t, db, firstTable)
	exec1(t, db, "ALTER TABLE wx_userinfo ADD COLUMN remark varchar(255)")
	fill(t, db)
	before := stateOf(t, db)
	var out strings.Builder
	if err := Run(t.Context(), db, Options{DryRun: true, Out: &out}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, stateOf(t, db)); diff != "" {
		t.Errorf("the dry run changed something (-before +after):\n%s", diff)
	}
	want := "wx_userinfo is the legacy service's table\n" +
		"        7 rows get a session_epoch: all users log in again\n" +
		"        1 rows with NULL, which becomes the column's default\n" +
		"        3 rows with emoji stored as text\n" +
		"        3 genders become a digit\n" +
		"        1 unknown genders are cleared\n" +
		"  unchanged columns: `remark`\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNothingToTakeOver(t *testing.T) {
	db := mariaDB(t)
	var out strings.Builder
	for _, name := range []string{"no table", "this service's table"} {
		before := stateOf(t, db)
		for _, dry := range []bool{true, false} {
			err := Run(t.Context(), db, Options{DryRun: dry, Out: &out})
			if err != nil || out.Len() > 0 {
				t.Errorf("%s: %v, %s, want no report", name, err, out.String())
			}
		}
		if diff := cmp.Diff(before, stateOf(t, db)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
		if err := migrations.Migrate(t.Context(), db, migrations.MySQL); err != nil {
			t.Fatal(err)
		}
	}
}

func insertUsers(values string) string {
	return "INSERT INTO wx_userinfo (id, openid) VALUES " + values
}

const noIndex = "ALTER TABLE wx_userinfo DROP INDEX openid"

var refusals = map[string]struct {
	change []string
	want   string // part of the error
}{
	"openids differ in case": {
		[]string{noIndex, insertUsers("(600, 'OB'), (601, 'ob'), (602, 'Og')")},
		"openids differ only in case (--keep-twins keeps them as different users): " +
			"2 and 600 and 601, 500 and 602\n",
	},
	"same openid": {
		[]string{noIndex, insertUsers("(600, 'oB')")},
		"rows with the same openid: 2 and 600",
	},
	"long openid": {
		[]string{insertUsers("(600, REPEAT('x', 65)), (601, REPEAT('y', 255))")},
		"openid is longer than 64 characters: 600, 601",
	},
	"non-ASCII openid": {
		[]string{insertUsers("(600, 'é'), (601, 'o B')")},
		"openid is not printable ASCII: 600, 601",
	},
	"empty openid": {
		[]string{insertUsers("(600, NULL), (601, ''), (602, NULL)")},
		"openid is empty: 600, 601, 602",
	},
	"many": {
		[]string{noIndex, "INSERT INTO wx_userinfo (openid) " +
			"SELECT '' FROM information_schema.columns LIMIT 30"},
		"openid is empty: 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, " +
			"1009, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019, … (30)",
	},
	"not UTF-8": {
		[]string{"UPDATE wx_userinfo SET language = X'ff' WHERE id = 3"},
		"language is not UTF-8: 3",
	},
	"long name": {
		[]string{"ALTER TABLE wx_userinfo MODIFY nick_name text",
			"UPDATE wx_userinfo SET nick_name = REPEAT('长', 256) WHERE id = 3"},
		"nick_name is longer than 255 characters: 3",
	},
	"large number": {
		[]string{"ALTER TABLE wx_userinfo MODIFY capacity bigint",
			"UPDATE wx_userinfo SET capacity = 2147483648 WHERE id = 3"},
		"capacity is not a number from -2147483648 to 2147483647: 3",
	},
	"text instead of a number": {
		[]string{"ALTER TABLE wx_userinfo MODIFY vip varchar(9)",
			"UPDATE wx_userinfo SET vip = 'yes' WHERE id = 3"},
		"vip is not a number from -128 to 127: 3",
	},
	"not a time": {
		[]string{"ALTER TABLE wx_userinfo ADD created_at varchar(20) DEFAULT 'now'"},
		"created_at is not a time: 1, 2, 3",
	},
	"trigger": {
		[]string{"CREATE TRIGGER note BEFORE INSERT ON wx_userinfo FOR EACH ROW SET NEW.city = ''"},
		"foreign keys and triggers, which would be lost: note",
	},
	"backup": {
		[]string{"CREATE TABLE wx_userinfo_legacy (id int)"},
		"tables whose name is needed, to be dropped or renamed: wx_userinfo_legacy",
	},
	"column without a default": {
		[]string{"ALTER TABLE wx_userinfo ADD must int NOT NULL"},
		"NOT NULL without a default, so new users could not be stored: must",
	},
}

func TestRefusals(t *testing.T) {
	for name, test := range refusals {
		t.Run(name, func(t *testing.T) {
			db := mariaDB(t)
			exec1(t, db, firstTable)
			fill(t, db)
			for _, q := range test.change {
				exec1(t, db, q)
			}
			before := stateOf(t, db)
			for _, dry := range []bool{true, false} {
				err := Run(t.Context(), db, Options{Out: io.Discard, DryRun: dry})
				if err == nil || !strings.Contains(err.Error()+"\n", test.want) {
					t.Errorf("dry %v: got %v\nwant a refusal with %s", dry, err, test.want)
				}
			}
			err := migrations.Migrate(t.Context(), db, migrations.MySQL)
			if !errors.Is(err, migrations.ErrForeignTable) {
				t.Errorf("migrations without a takeover: %v, want ErrForeignTable", err)
			}
			if diff := cmp.Diff(before, stateOf(t, db)); diff != "" {
				t.Errorf("the refused run changed something (-before +after):\n%s", diff)
			}
		})
	}
}

func TestTwinsMayBeKept(t *testing.T) {
	db := mariaDB(t)
	exec1(t, db, firstTable)
	fill(t, db)
	exec1(t, db, "ALTER TABLE wx_userinfo DROP INDEX openid")
	exec1(t, db, "INSERT INTO wx_userinfo (id, openid) VALUES (600, 'OB')")
	mustRun(t, db, Options{KeepTwins: true})
	checkTaken(t, db)
	want := []string{"2 oB", "600 OB"}
	got := strs(t, db, "SELECT CONCAT(id, ' ', openid) FROM wx_userinfo "+
		"WHERE LOWER(openid) = 'ob' ORDER BY id")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestForeignTables(t *testing.T) {
	noKey := strings.NewReplacer("PRIMARY KEY", "KEY", " AUTO_INCREMENT,", ",").Replace(firstTable)
	for name, ddl := range map[string]string{
		"other columns":  "CREATE TABLE wx_userinfo (id int PRIMARY KEY, openid varchar(255))",
		"no primary key": noKey,
	} {
		t.Run(name, func(t *testing.T) {
			db := mariaDB(t)
			exec1(t, db, strings.Replace(ddl, "AUTO_INCREMENT=1000", "", 1))
			before := stateOf(t, db)
			err := Run(t.Context(), db, Options{Out: io.Discard})
			if !errors.Is(err, migrations.ErrForeignTable) {
				t.Errorf("got %v, want ErrForeignTable", err)
			}
			if diff := cmp.Diff(before, stateOf(t, db)); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

// MySQL's error quotes a duplicate openid that is inserted after the check. The text must not reach
// a log.
func TestErrorsContainNoOpenid(t *testing.T) {
	db := mariaDB(t)
	exec1(t, db, firstTable)
	exec1(t, db, "ALTER TABLE wx_userinfo DROP INDEX openid")
	exec1(t, db, "INSERT INTO wx_userinfo (openid) VALUES ('oSecret'), ('oSecret')")
	o := takeover{db: db}
	tab, err := o.inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = o.exec(t.Context(), tab.copying()...)
	if err == nil || !strings.Contains(err.Error(), "oSecret") {
		t.Fatalf("got %v, want an error that quotes the openid", err)
	}
	if got := wrap("copy", err).Error(); got != "takeover: copy: MySQL error 1062" {
		t.Errorf("got %q, want the error's number only", got)
	}
}

func TestConcurrentMigrators(t *testing.T) {
	db := mariaDB(t)
	exec1(t, db, firstTable)
	fill(t, db)
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			if err := Run(t.Context(), db, Options{Out: io.Discard}); err != nil {
				return err
			}
			return migrations.Migrate(t.Context(), db, migrations.MySQL)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	checkTaken(t, db)
	if diff := cmp.Diff(filled, users(t, db)); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// After a migrator is killed with SIGKILL before or after any step, the next one finishes.
func TestKilledAtEachStep(t *testing.T) {
	for _, step := range []string{"copy", "replace", "swap", "taken over"} {
		dsn := testenv.MariaDB(t).Database(t)
		db := open(t, dsn)
		exec1(t, db, firstTable)
		fill(t, db)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childDSN+"="+dsn, childStep+"="+step)
		out, err := cmd.CombinedOutput()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Fatalf("the migrator was not killed at step %s: %v\n%s", step, err, out)
		}
		pending, err := migrations.Pending(t.Context(), db, migrations.MySQL)
		if err != nil || len(pending) == 0 {
			t.Errorf("step %s: no pending migrations on an unfinished table: %v", step, err)
		}
		exec1(t, db, "UPDATE goose_lease SET expiry = 1") // as after 15 minutes
		mustRun(t, db, Options{})
		checkTaken(t, db)
		if diff := cmp.Diff(filled, users(t, db)); diff != "" {
			t.Errorf("killed at step %s (-want +got):\n%s", step, diff)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		``:                     ``,
		`plain`:                `plain`,
		`[\u1f604]`:            `😄`,
		`a[\u1F604][\u1f469]b`: `a😄👩b`,
		`[[\u1f604]]`:          `[😄]`,
		`[\u[\u1f604]]`:        `[\u😄]`,
		`[\u10000]`:            "\U00010000",
		`[\u10ffff]`:           "\U0010ffff",
		`[\u010000]`:           "\U00010000",
		`[\u110000]`:           `[\u110000]`, // no character
		`[\uffff]`:             `[\uffff]`,   // MySQL's utf8 holds it
		`[\u0ffff]`:            `[\u0ffff]`,
		`[\u41]`:               `[\u41]`,
		`[\ud83d][\ude04]`:     `[\ud83d][\ude04]`,
		`[\u1f604`:             `[\u1f604`,
		`\u1f604]`:             `\u1f604]`,
		`[u1f604]`:             `[u1f604]`,
		`[\u1f60g]`:            `[\u1f60g]`,
		`[\u0001f604]`:         `[\u0001f604]`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// noCache is for a model that does not call FindOne.
type noCache struct{ cache.Cache }

func (noCache) DelCtx(context.Context, ...string) error { return nil }
