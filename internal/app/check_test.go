package app

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shares/internal/testenv"
)

func findings(t *testing.T, settings string) []string {
	t.Helper()
	out, _ := run(t, "-f", dev(t, settings), "check")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "FAIL ") &&
			!strings.HasPrefix(line, "warn ") {
			t.Errorf("not a finding: %q", line)
		}
	}
	return lines
}

func failures(lines []string, part string) []string {
	var failed []string
	for _, line := range lines {
		if f := strings.Fields(line); f[0] == "FAIL" && f[1] == part {
			failed = append(failed, line)
		}
	}
	return failed
}

// wantFailures compares the failures of a part with want: the start of each, and a text in it.
func wantFailures(t *testing.T, lines []string, part string, want ...[2]string) {
	t.Helper()
	got := failures(lines, part)
	if len(got) != len(want) {
		t.Errorf("%s: got %d failures, want %d:\n%s", part, len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i, w := range want {
		start := fmt.Sprintf("%-5s %-9s %s", "FAIL", part, w[0])
		if !strings.HasPrefix(got[i], start) || !strings.Contains(got[i], w[1]) {
			t.Errorf("got %q, want %q and %q", got[i], start, w[1])
		}
	}
}

func TestCheckReportsEmbeddedParts(t *testing.T) {
	lines := findings(t, "")
	for _, want := range []string{
		"ok    Database  embedded SQLite", "ok    Redis     embedded",
		"ok    Pictures  embedded", "ok    Address   SHARES_PUBLIC_URL is not set", "ok    WeChat    simulated",
	} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// The documented ACL is enough for every command, and check notices each one that is missing.
func TestCheckRunsTheServicesRedisCommands(t *testing.T) {
	server := testenv.Redis(t)
	const prefix, allow = "shares:wxsimulator0000000", "allow it for the user in Redis's ACL"
	address := "RedisAddr: redis://app:hunter2@" + server.Addr() + "/1"
	check := func(change ...string) []string {
		t.Helper()
		server.Restrict(t, "app", "hunter2", prefix, change...)
		lines := findings(t, address)
		if all := strings.Join(lines, "\n"); strings.Contains(all, "hunter2") {
			t.Errorf("the password is shown:\n%s", all)
		}
		return lines
	}
	wantFailures(t, check(), "Redis")
	for _, rule := range testenv.DocumentedACL(t, prefix) {
		command, ok := strings.CutPrefix(rule, "+")
		if !ok || command == "command" || command == "cluster|slots" { // of clusters only
			continue
		}
		lines := check("-" + command)
		got := strings.Join(failures(lines, "Redis"), "\n")
		if command == "info" {
			wantFailures(t, lines, "Redis")
			got = strings.Join(lines, "\n")
		}
		if !strings.Contains(got, allow) || !strings.Contains(got, "'"+command+"'") &&
			!strings.Contains(got, "can't run this command") {
			t.Errorf("without %s: no failure names it:\n%s", command, got)
		}
	}
	wantFailures(t, check("resetchannels"), "Redis", [2]string{"subscribe to " + prefix + ":invalidations: ", allow},
		[2]string{"delete a row and publish that: ", allow})
	if got := failures(check("resetkeys", "~other:*"), "Redis"); len(got) < 8 {
		t.Errorf("with other keys %d steps fail, want all:\n%s", len(got), strings.Join(got, "\n"))
	}
	cluster := testenv.RedisCluster(t)
	cluster.Restrict(t, "app", "hunter2", prefix)
	lines := findings(t, "RedisType: cluster\nRedisAddr: redis://app:hunter2@"+cluster.Addr())
	wantFailures(t, lines, "Redis")
	lines = findings(t, "RedisAddr: redis://app:wrong@"+server.Addr())
	wantFailures(t, lines, "Redis", [2]string{server.Addr() + ": wrong user or password: ", "REDIS_PASSWORD"})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	lines = findings(t, address)
	wantFailures(t, lines, "Redis", [2]string{server.Addr() + ": does not answer: ", "REDIS_ADDR"})
}

// check says which name or authority of the certificate is wrong.
func TestCheckRedisTLS(t *testing.T) {
	ca, cert, key := testenv.Certificate(t, "127.0.0.1")
	address := fmt.Sprint("127.0.0.1:", testenv.FreePort(t))
	testenv.Redis(t, "--tls-port", strings.Split(address, ":")[1], "--tls-ca-cert-file", ca,
		"--tls-cert-file", cert, "--tls-key-file", key)
	other, _, _ := testenv.Certificate(t, "other")
	client := "\nRedisTLSCert: " + cert + "\nRedisTLSKey: " + key
	for name, tt := range map[string]struct {
		settings string
		want     [][2]string
	}{
		"trusted":    {"RedisAddr: rediss://" + address + "\nRedisTLSCA: " + ca + client, nil},
		"unverified": {"RedisAddr: rediss://" + address + "\nRedisTLSSkipVerify: true" + client, nil},
		"another authority": {"RedisAddr: rediss://" + address + "\nRedisTLSCA: " + other + client, [][2]string{
			{address + ": the certificate is signed by \"CN=authority of 127.0.0.1\"", "REDIS_TLS_CA"},
		}},
		"another name": {"RedisAddr: rediss://" + strings.Replace(address, "127.0.0.1", "localhost", 1) +
			"\nRedisTLSCA: " + ca + client, [][2]string{{"localhost:", "refused: x509: certificate is not valid for any names, but wanted to match localhost"}}},
		"no client certificate": {"RedisAddr: rediss://" + address + "\nRedisTLSCA: " + ca, [][2]string{
			{address + ": ", "certificate required"},
		}},
		"no file": {"RedisAddr: rediss://" + address + "\nRedisTLSCA: missing.pem", [][2]string{
			{"REDIS_TLS_CA: open missing.pem", ""},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			wantFailures(t, findings(t, tt.settings), "Redis", tt.want...)
		})
	}
}

func TestCheckDistinguishesMySQLFailures(t *testing.T) {
	dsn := testenv.MariaDB(t).Database(t)
	lines := findings(t, "MySQLDSN: "+dsn)
	wantFailures(t, lines, "Database", [2]string{"the schema lacks ", "run `shares migrate`"})
	shares(t, "-f", settings(t, "MySQLDSN: "+dsn), "migrate")
	wantFailures(t, findings(t, "MySQLDSN: "+dsn), "Database")

	_, rest, _ := strings.Cut(dsn, "@")
	lines = findings(t, "MySQLDSN: stranger:hunter2@"+rest)
	wantFailures(t, lines, "Database", [2]string{"wrong user or password in MYSQL_DSN: ", ""})
	port := testenv.FreePort(t)
	lines = findings(t, fmt.Sprintf("MySQLDSN: u:hunter2@tcp(127.0.0.1:%d)/d", port))
	wantFailures(t, lines, "Database", [2]string{"does not answer: check the address in MYSQL_DSN", "refused"})
}

// A failed part is one line, and the other parts are still checked.
func TestCheckContinuesAfterAFailure(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lines := findings(t, "MySQLDSN: u:hunter2@tcp(db)/d?loc=Asia/Shanghai\nQRCodeBucket: file://"+file+"/no-folder\n"+
		"PublicURL: "+page.URL+"\nWechatAppID: wx0\nWechatSecret: hunter2\nWechatBaseURL: http://127.0.0.1:"+fmt.Sprint(testenv.FreePort(t)))
	for part, want := range map[string]string{
		"Database": "MYSQL_DSN: parameter loc", "Pictures": "", "Address": page.URL + " answers 404", "WeChat": "",
	} {
		wantFailures(t, lines, part, [2]string{want, ""})
	}
	if all := strings.Join(lines, "\n"); strings.Contains(all, "hunter2") {
		t.Errorf("a secret is shown:\n%s", all)
	}
}

func TestCheckMySQLTLS(t *testing.T) {
	ca, cert, key := testenv.Certificate(t, "127.0.0.1")
	other, _, _ := testenv.Certificate(t, "other")
	server := testenv.NewMariaDB(t, "--ssl-ca="+ca, "--ssl-cert="+cert, "--ssl-key="+key)
	dsn := server.Database(t)
	shares(t, "-f", settings(t, "MySQLDSN: "+dsn), "migrate")
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	database := dsn[strings.LastIndex(dsn, "/")+1:]
	dsn, err = server.UserDSN(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "ALTER USER app@127.0.0.1 REQUIRE X509"); err != nil {
		t.Fatal(err)
	}
	const name = "certificate is not valid for any names, but wanted to match localhost"
	client := "\nMySQLTLSCert: " + cert + "\nMySQLTLSKey: " + key
	for name, tt := range map[string]struct {
		settings string
		want     [][2]string
	}{
		"trusted": {"MySQLDSN: " + dsn + "\nMySQLTLSCA: " + ca + client, nil},
		"another authority": {"MySQLDSN: " + dsn + "\nMySQLTLSCA: " + other + client, [][2]string{
			{"the certificate is signed by \"CN=authority of 127.0.0.1\"", "MYSQL_TLS_CA"}}},
		"another name": {"MySQLDSN: " + strings.Replace(dsn, "127.0.0.1", "localhost", 1) +
			"\nMySQLTLSCA: " + ca + client, [][2]string{{"the certificate is refused", name}}},
		"no client certificate": {"MySQLDSN: " + dsn + "\nMySQLTLSCA: " + ca, [][2]string{
			{"wrong user or password in MYSQL_DSN", ""}}},
		"no TLS": {"MySQLDSN: " + dsn, [][2]string{{"wrong user or password in MYSQL_DSN", ""}}},
		"no file": {"MySQLDSN: " + dsn + "\nMySQLTLSCA: missing.pem", [][2]string{
			{"MYSQL_TLS_CA: open missing.pem", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			wantFailures(t, findings(t, tt.settings), "Database", tt.want...)
		})
	}
}
