package app

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := Command(Build{Version: "v1.2.3", Commit: "abc", Date: "today"})
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestUnknownCommandsAreErrors(t *testing.T) {
	for _, args := range []string{"sevre", "user revok", "user revok openid", "check now", "version now"} {
		if _, err := run(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), "unknown command") {
			t.Errorf("shares %s: got %v, want an unknown command", args, err)
		}
	}
	for _, args := range []string{"", "user", "user --help"} {
		if out, err := run(t, strings.Fields(args)...); err != nil || !strings.Contains(out, "Usage:") {
			t.Errorf("shares %s: %v, printed %q", args, err, out)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		out, err := run(t, arg)
		if want := "shares version v1.2.3 (commit abc, today)\n"; err != nil || out != want {
			t.Errorf("shares %s: got %q, %v, want %q", arg, out, err, want)
		}
	}
}

// dev returns a file with the settings of serve in dev mode on a free port, with changes.
func dev(t testing.TB, changes string) string {
	t.Helper()
	return settings(t, "Host: 127.0.0.1\nPort: 0\nDataDir: "+t.TempDir()+"\n"+changes)
}

func TestListenErrorsNameTheSettingAndARemedy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, tt := range map[string]struct{ file, want string }{
		"port in use":       {settings(t, "Host: 127.0.0.1\nPort: "+port+"\nDataDir: "+t.TempDir()), "SHARES_HOST and SHARES_PORT: "},
		"admin port in use": {dev(t, "AdminListen: 127.0.0.1:"+port), "SHARES_ADMIN_LISTEN: "},
		"foreign address":   {settings(t, "Host: 192.0.2.1\nPort: 0\nDataDir: "+t.TempDir()), "SHARES_HOST and SHARES_PORT: "},
	} {
		_, err := run(t, "-f", tt.file, "serve")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || !strings.Contains(err.Error(), "set another address") {
			t.Errorf("%s: got %v, want %q and a remedy", name, err, tt.want)
		}
	}
}

func TestWrongSettingsStopServeAndCheck(t *testing.T) {
	for want, file := range map[string]string{
		"REDIS_TYPE=cluster":                         dev(t, "RedisAddr: a:6379,b:6379"),
		"SESSION_SECRET: is the placeholder":         dev(t, "SessionSecret: replace-me-with-48-random-characters-0123456789ab"),
		"Port (SHARES_PORT): must be a whole number": settings(t, "Port: x"),
	} {
		for _, command := range []string{"serve", "check"} {
			if _, err := run(t, "-f", file, command); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", command, err, want)
			}
		}
	}
}
