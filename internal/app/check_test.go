package app

import (
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
		if !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "FAIL ") {
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

func TestCheckRunsTheServicesRedisCommands(t *testing.T) {
	server := testenv.Redis(t)
	admin := server.Client(t)
	const allow = "allow it for the user in Redis's ACL"
	for _, tt := range []struct {
		name  string
		rules []string
		want  [][2]string // failures: the step, and a text in the line
	}{
		{"full", []string{"~*", "&*", "+@all"}, nil},
		{"no channels", []string{"~*", "resetchannels", "+@all"}, [][2]string{
			{"subscribe to ", allow}, {"script that invalidates and publishes: ", allow},
		}},
		{"no DEL", []string{"~*", "&*", "+@all", "-del"}, [][2]string{
			{"script that invalidates and publishes: ", allow}, {"lock of a QR code: ", allow}, {"lock of the access token: ", allow},
		}},
		{"a key pattern", []string{"~shares:*", "&*", "+@all"}, [][2]string{
			{"store and read the access token: ", allow}, {"lock of the access token: ", allow},
		}},
		{"no INFO", []string{"~*", "&*", "+@all", "-info"}, [][2]string{{"INFO server", allow}}},
		{"no PING", []string{"~*", "&*", "+@all", "-ping"}, [][2]string{{server.Addr() + ": ", allow}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := append([]string{"reset", "on", ">hunter2"}, tt.rules...)
			if err := admin.ACLSetUser(t.Context(), "app", rules...).Err(); err != nil {
				t.Fatal(err)
			}
			lines := findings(t, "RedisAddr: redis://app:hunter2@"+server.Addr())
			wantFailures(t, lines, "Redis", tt.want...)
			if all := strings.Join(lines, "\n"); strings.Contains(all, "hunter2") {
				t.Errorf("the password is shown:\n%s", all)
			}
		})
	}
	lines := findings(t, "RedisAddr: redis://app:wrong@"+server.Addr())
	wantFailures(t, lines, "Redis", [2]string{server.Addr() + ": wrong user or password: ", "REDIS_PASSWORD"})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	lines = findings(t, "RedisAddr: redis://app:hunter2@"+server.Addr())
	wantFailures(t, lines, "Redis", [2]string{server.Addr() + ": does not answer: ", "REDIS_ADDR"})
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
