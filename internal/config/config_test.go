package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// load calls Load with the environment and a file of the given content ("": no file).
func load(t *testing.T, env []string, file string) (Config, []string, error) {
	t.Helper()
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "shares.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(path, env)
}

// same compares configurations including their secrets, which print as [redacted].
func same(t *testing.T, want, got Config) {
	t.Helper()
	if want != got {
		t.Errorf("(-want +got):\n%s\nsecrets: want %q, got %q", cmp.Diff(want, got), secrets(want), secrets(got))
	}
}

func secrets(c Config) []string {
	return []string{string(c.SessionSecret), string(c.MySQLDSN), string(c.RedisPassword), string(c.WechatSecret)}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	defaults := Config{
		Mode: "dev", Port: 82, Timeout: 5 * time.Second, MaxInFlight: 1024, AccessLog: "on", LogLevel: "info",
		Shutdown: 45 * time.Second, SessionLifetime: 2 * time.Hour, SessionMaxAge: 30 * 24 * time.Hour,
		RateLimit: "on", LoginPerMinute: 3000, UserPerSecond: 20, UserBurst: 60,
		RPCTarget: "dns:///127.0.0.1:8083", RPCListen: "127.0.0.1:8083", RPCTimeout: 4500 * time.Millisecond,
		DataDir: "./data", MySQLMaxOpen: 32, MySQLTimeout: 2 * time.Second, RedisType: "node", RedisTimeout: 100 * time.Millisecond,
		CacheTTL: 5 * time.Minute, LocalUsers: 100_000,
		WechatBaseURL: "https://api.weixin.qq.com", WechatTimeout: 3 * time.Second, PushModified: "clear", ContentCheck: "off", ContentCheckAway: "allow",
		Phone: "any", NewUserCapacity: 5, AvatarsPerUserDay: 100,
		QRCodeEnvVersion: "release", QRCodeWidth: 430, QRCodeCheckPath: true, QRCodeLineColor: "#000000",
		QRCodePerMinute: 5000, QRCodePerUserDay: 200, TraceSample: 0.01,
	}
	env := []string{"SHARES_PORT=9000", "SHARES_TIMEOUT=9s", "SHARES_ENVELOPE=false", "SESSION_LIFETIME=90m",
		"REDIS_TLS=true", "REDIS_USERNAME=007", "SHARES_TRACE_SAMPLE=0.5", "SHARES_LOG_LEVEL=",
		"SESSION_SECRET=a$b,c#d%e", "MYSQL_DSN=u:p$w@tcp(h:1)/d?x=y", "REDIS_PASSWORD=$HOME", "WECHAT_SECRET=12345678"}
	ofEnv := func(c *Config) {
		c.Port, c.Timeout, c.SessionLifetime = 9000, 9*time.Second, 90*time.Minute
		c.RedisTLS, c.RedisUsername, c.TraceSample = true, "007", 0.5
		c.SessionSecret, c.MySQLDSN, c.RedisPassword, c.WechatSecret = "a$b,c#d%e", "u:p$w@tcp(h:1)/d?x=y", "$HOME", "12345678"
	}
	for _, tt := range []struct {
		name string
		env  []string
		file string
		want func(*Config)
	}{
		{"nothing", nil, "", func(*Config) {}},
		{"a file", nil, "Mode: pro\nPort: 8082\nTimeout: 7s\nEnvelope: true\nQRCodeCheckPath: false\n", func(c *Config) {
			c.Mode, c.Port, c.Timeout, c.Envelope, c.QRCodeCheckPath = "pro", 8082, 7*time.Second, true, false
		}},
		{"keys in any case", nil, "port: 8082\nDATADIR: /var/lib/shares\n", func(c *Config) { c.Port, c.DataDir = 8082, "/var/lib/shares" }},
		{"no expansion", nil, `SessionSecret: "a$HOME,b"`, func(c *Config) { c.SessionSecret = "a$HOME,b" }},
		{"a text that looks like a number", nil, "RedisUsername: 007\n", func(c *Config) { c.RedisUsername = "007" }},
		{
			"the environment wins", env, "Port: 8082\nTimeout: 7s\nCORSOrigins: https://a.example.com\nLogLevel: debug\nWechatSecret: of-the-file\n",
			func(c *Config) { ofEnv(c); c.CORSOrigins, c.LogLevel = "https://a.example.com", "debug" },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := load(t, tt.env, tt.file)
			if err != nil || warnings != nil {
				t.Fatalf("%v, warnings %q", err, warnings)
			}
			want := defaults
			tt.want(&want)
			same(t, want, got)
		})
	}
}

// The error names the setting and the allowed values, and never shows the value.
func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  string
		file string
		want []string
	}{
		{"unknown keys", "", "Port: 82\nPorrt: 83\nSecret: hunter2\n", []string{"unknown setting porrt", "unknown setting secret"}},
		{"twice", "", "Port: 82\nPort: 83\n", []string{"once"}},
		{"a mode", "", "Mode: hunter2\n", []string{"Mode (SHARES_MODE): must be dev or pro"}},
		{"a duration without unit", "", "Timeout: 5\n", []string{"SHARES_TIMEOUT", "must be a duration such as 500ms or 2h, at least 1ms"}},
		{"a width", "", "qrcodewidth: 100\n", []string{"QRCODE_WIDTH", "must be a whole number, at least 280, at most 1280"}},
		{"a list of secrets", "", "SessionSecret: [hunter2, hunter2]\n", []string{"single value"}},
		{"a port out of range", "SHARES_PORT=70000", "Port: 82\n", []string{"SHARES_PORT: must be a whole number, at least 0, at most 65535"}},
		{"a service link", "SHARES_PORT=tcp://10.0.0.1:82", "", []string{"SHARES_PORT", "Kubernetes", "enableServiceLinks: false"}},
		{"no number", "SHARES_TRACE_SAMPLE=NaN", "", []string{"SHARES_TRACE_SAMPLE: must be a number, at least 0, at most 1"}},
		{"a short session", "SESSION_LIFETIME=59s", "", []string{"SESSION_LIFETIME", "at least 1m"}},
		{"a negative drain", "SHARES_DRAIN=-1s", "", []string{"SHARES_DRAIN", "at least 0s"}},
		{"two errors", "SHARES_PORT=x", "Timeout: x\n", []string{"SHARES_PORT", "SHARES_TIMEOUT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := load(t, []string{tt.env}, tt.file)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the value is shown: %q", err)
			}
		})
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

func TestRedisURL(t *testing.T) {
	type redis struct {
		addr, user, password string
		tls                  bool
		db                   int
		master               string
	}
	for in, want := range map[string]redis{
		"redis://db":                                 {addr: "db:6379"},
		"redis://db:6380/0":                          {addr: "db:6380"},
		"redis://:hun%2Fter2@db:6380/":               {addr: "db:6380", password: "hun/ter2"},
		"rediss://app:hunter2@db:6380":               {addr: "db:6380", user: "app", password: "hunter2", tls: true},
		"redis://[fd00::1]:6379":                     {addr: "[fd00::1]:6379"},
		"db:6379":                                    {addr: "db:6379"},
		"redis://db/3":                               {addr: "db:6379", db: 3},
		"redis://db?addr=b:1&addr=c:2&master_name=m": {addr: "db:6379,b:1,c:2", master: "m"},
		" rediss://app:hunter2@db.example \n":        {addr: "db.example:6379", user: "app", password: "hunter2", tls: true},
	} {
		c, _, err := Load("", []string{"REDIS_ADDR=" + in})
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		got := redis{c.RedisAddr, c.RedisUsername, string(c.RedisPassword), c.RedisTLS,
			c.RedisDB, c.RedisMaster}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"redis://app:hun/ter2@db:6379":                     "escaped",
		"redis://app:hunter2%@db:6379":                     "escaped",
		"http://db:6379":                                   "redis://",
		"redis://db:6379/three":                            "database number",
		"redis://db:6379?addr=b:1&password=hunter2":        "no parameters but addr",
		"redis://db:6379/3\x00REDIS_DB=4":                  "while REDIS_USERNAME or REDIS_PASSWORD, REDIS_DB",
		"redis://db?master_name=a\x00REDIS_MASTER=b":       "or REDIS_MASTER is set",
		"redis://:hunter2@a:6379,redis://:hunter2@b:6379":  "one URL",
		"redis://app:hunter2@db:6379\x00REDIS_PASSWORD=ab": "must have no user and password",
	} {
		c, _, err := Load("", strings.Split("REDIS_ADDR="+in, "\x00"))
		if err == nil || !strings.Contains(err.Error(), "REDIS_ADDR") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "ter2") || strings.Contains(c.RedisAddr, "ter2") {
			t.Errorf("%q: the password is shown: %v, address %q", in, err, c.RedisAddr)
		}
	}
}

// Every setting has its own variable and its own key in the file. Blanks around its value are
// trimmed: `echo secret | base64` keeps the line break, and Windows adds a CR.
func TestEverySettingFromFileAndEnvironment(t *testing.T) {
	t.Parallel()
	var env, blanks, file []string
	seen := make(map[string]bool)
	for f := range reflect.TypeFor[Config]().Fields() {
		name, value := f.Tag.Get("env"), sample(f)
		if name == "" || seen[name] {
			t.Errorf("%s: variable %q is empty or used twice", f.Name, name)
		}
		seen[name] = true
		env = append(env, name+"="+value)
		blanks = append(blanks, name+"=\t "+value+" \r\n")
		file = append(file, f.Name+": "+value)
	}
	want, warnings, err := Load("", env)
	if err != nil || warnings != nil {
		t.Fatalf("%v, warnings %q", err, warnings)
	}
	for f, value := range reflect.ValueOf(want).Fields() {
		if value.IsZero() {
			t.Errorf("%s was not read", f.Name)
		}
	}
	got, _, err := load(t, nil, strings.Join(file, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
	if got, warnings, err = Load("", blanks); err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
	if all := strings.Join(warnings, "\n"); len(warnings) != len(seen) || strings.Contains(all, "value-of") {
		t.Errorf("got %d warnings, want %d without values:\n%s", len(warnings), len(seen), all)
	}
}

// sample returns a value of a field that is not zero. If the field has options, it is one
// of them.
func sample(f reflect.StructField) string {
	if options := f.Tag.Get("options"); options != "" {
		return options[strings.LastIndex(options, "|")+1:]
	}
	switch reflect.Zero(f.Type).Interface().(type) {
	case time.Duration:
		return "7m"
	case bool:
		return "true"
	case int:
		return "512"
	case float64:
		return "0.25"
	}
	return "value-of-" + f.Name
}

func TestShippedFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../etc/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if _, _, err := Load(file, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
	c := Config{Host: "visible", SessionSecret: secret, MySQLDSN: secret, RedisPassword: secret, WechatSecret: secret}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, c, &c, []any{c.SessionSecret, map[string]any{"a": c.WechatSecret}})
	}
	for _, encode := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		b, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c, "secret", c.RedisPassword)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c, "secret", c.RedisPassword)
	printed := out.String()
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
		if strings.Contains(printed, form) {
			t.Errorf("%s is in\n%s", form, printed)
		}
	}
	if !strings.Contains(printed, "visible") {
		t.Error("nothing was printed at all")
	}
}

func TestMisspeltVariables(t *testing.T) {
	_, warnings, err := Load("", []string{
		"SHARES_PROT=82", "WECHAT_SECRETS=hidden", "QRCODE_PAGE=", // typos
		"PATH=/bin", "SESSION_MANAGER=local/desktop:@/tmp/.ICE-unix/1", "MYSQL_ROOT_PASSWORD=x", "REDIS_PORT=tcp://10.0.0.1:6379",
		"SHARES_SERVICE_HOST=10.0.0.1", "SHARES_SERVICE_PORT_HTTP=80", "SHARES_PORT_80_TCP=tcp://10.0.0.1:80", "SHARESX=1",
		"SHARES_RPC_PORT=tcp://10.0.0.1:8083", "SHARES_RPC_PORT_8083_TCP_ADDR=10.0.0.1", "SHARES_RPC_SERVICE_HOST=10.0.0.1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"QRCODE_PAGE: unknown setting (typo?)", "SHARES_PROT: unknown setting (typo?)", "WECHAT_SECRETS: unknown setting (typo?)"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
