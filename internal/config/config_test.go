package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v2"
)

// childEnv makes the test binary a process that loads the file it names and prints what it got: go-zero remembers each environment
// variable from its first look on, so every environment needs a process of its own.
const childEnv = "SHARES_CONFIG_TEST_CHILD"

func TestMain(m *testing.M) {
	paths, child := os.LookupEnv(childEnv)
	if !child {
		os.Exit(m.Run())
	}
	var results []loaded
	for path := range strings.SplitSeq(paths, "|") {
		c, err := Load(path)
		r := loaded{Config: c}
		if err != nil {
			r.Err = err.Error()
		}
		for _, s := range []Secret{c.SessionSecret, c.MySQLDSN, c.RedisPassword, c.WechatSecret} {
			r.Secrets = append(r.Secrets, string(s))
		}
		results = append(results, r)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}

// loaded is what Load gave, without secrets in Config.
type loaded struct {
	Config  Config
	Secrets []string // session, MySQL, Redis, WeChat
	Err     string
}

// load loads each of the files ("": none) in one process that has the given environment and no other.
func load(t *testing.T, env []string, files ...string) []loaded {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, content := range files {
		path := ""
		if content != "" {
			path = filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		paths = append(paths, path)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(env, childEnv+"="+strings.Join(paths, "|"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var results []loaded
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range results {
		c := &results[i].Config
		for _, s := range []*Secret{&c.SessionSecret, &c.MySQLDSN, &c.RedisPassword, &c.WechatSecret} {
			*s = "" // they travelled as [redacted]
		}
	}
	return results
}

func TestLoad(t *testing.T) {
	t.Parallel()
	defaults := Config{
		Mode: "dev", Port: 82, Timeout: 5 * time.Second, MaxInFlight: 1024, AccessLog: "on", LogLevel: "info",
		Shutdown: 15 * time.Second, SessionLifetime: 2 * time.Hour, SessionMaxAge: 30 * 24 * time.Hour,
		RateLimit: "on", LoginPerMinute: 3000, UserPerSecond: 20, UserBurst: 60,
		RPCTarget: "dns:///127.0.0.1:8083", RPCListen: "127.0.0.1:8083", RPCTimeout: 4500 * time.Millisecond,
		DataDir: "./data", MySQLMaxOpen: 32, MySQLTimeout: 2 * time.Second, RedisType: "node", RedisTimeout: 100 * time.Millisecond,
		CacheTTL: 5 * time.Minute, LocalUsers: 100_000,
		WechatBaseURL: "https://api.weixin.qq.com", WechatTimeout: 3 * time.Second, ContentCheck: "off", ContentCheckAway: "allow",
		Phone: "any", NewUserCapacity: 5, AvatarsPerUserDay: 100,
		QRCodeEnvVersion: "release", QRCodeWidth: 430, QRCodeCheckPath: true, QRCodeLineColor: "#000000",
		QRCodePerMinute: 5000, QRCodePerUserDay: 200, TraceSample: 0.01,
	}
	type want struct {
		file    string
		change  func(*Config)
		secrets []string
	}
	none := []string{"", "", "", ""}
	for _, tt := range []struct {
		name string
		env  []string
		want []want
	}{
		{"files", nil, []want{
			{"", func(*Config) {}, none},
			{" \n# nothing\n", func(*Config) {}, none},
			{"Mode: pro\nPort: 8082\nTimeout: 7s\nEnvelope: true\nQRCodeCheckPath: false\n", func(c *Config) {
				c.Mode, c.Port, c.Timeout, c.Envelope, c.QRCodeCheckPath = "pro", 8082, 7*time.Second, true, false
			}, none},
			{"port: 8082\nDATADIR: /var/lib/shares\n", func(c *Config) { c.Port, c.DataDir = 8082, "/var/lib/shares" }, none},
			{`SessionSecret: "a$HOME,b"`, func(*Config) {}, []string{"a$HOME,b", "", "", ""}},
		}},
		{"the environment, which wins", []string{"SHARES_PORT=9000", "SHARES_TIMEOUT=9s", "SHARES_ENVELOPE=false", "SESSION_LIFETIME=90m",
			"REDIS_TLS=true", "REDIS_USERNAME=007", "SHARES_TRACE_SAMPLE=0.5", "SHARES_LOG_LEVEL=",
			"SESSION_SECRET=a$b,c#d%e", "MYSQL_DSN=u:p$w@tcp(h:1)/d?x=y", "REDIS_PASSWORD=$HOME", "WECHAT_SECRET=12345678"}, []want{
			{"", func(c *Config) {
				c.Port, c.Timeout, c.SessionLifetime = 9000, 9*time.Second, 90*time.Minute
				c.RedisTLS, c.RedisUsername, c.TraceSample = true, "007", 0.5
			}, []string{"a$b,c#d%e", "u:p$w@tcp(h:1)/d?x=y", "$HOME", "12345678"}},
			{"Port: 8082\nTimeout: 7s\nEnvelope: true\nCORSOrigins: https://a.example.com\nLogLevel: debug\nWechatSecret: of-the-file\n", func(c *Config) {
				c.Port, c.Timeout, c.SessionLifetime = 9000, 9*time.Second, 90*time.Minute
				c.RedisTLS, c.RedisUsername, c.TraceSample = true, "007", 0.5
				c.CORSOrigins, c.LogLevel = "https://a.example.com", "debug"
			}, []string{"a$b,c#d%e", "u:p$w@tcp(h:1)/d?x=y", "$HOME", "12345678"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var files []string
			for _, w := range tt.want {
				files = append(files, w.file)
			}
			for i, got := range load(t, tt.env, files...) {
				want := loaded{Config: defaults, Secrets: tt.want[i].secrets}
				tt.want[i].change(&want.Config)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("file %q (-want +got):\n%s", tt.want[i].file, diff)
				}
			}
		})
	}
}

// A setting that cannot be is named, and a secret in the wrong form is not shown.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, tt := range []struct {
		name string
		env  []string
		want map[string][]string // by file: what is in the error
	}{
		{"files", nil, map[string][]string{
			"Port: 82\nPorrt: 83\nSecret: hunter2\n":    {"unknown settings: Porrt, Secret"},
			"- a\n- b\n":                                {"not a YAML mapping"},
			"\t:{":                                      {"not a YAML mapping"},
			"Mode: prod\n":                              {"Mode", "SHARES_MODE", "prod"},
			"Timeout: 5\n":                              {"SHARES_TIMEOUT"},
			"qrcodewidth: 100\n":                        {"QRCodeWidth", "QRCODE_WIDTH"},
			"SessionSecret: [hunter2, hunter2]\n":       {"SESSION_SECRET"},
			"SessionSecret: {a: hunter2}\n":             {"SESSION_SECRET"},
			"Host: a\nWechatSecret:\n  hunter2: true\n": {"WECHAT_SECRET"},
		}},
		{"a port", []string{"SHARES_PORT=70000"}, map[string][]string{"": {"SHARES_PORT"}, "Port: 82\nHost: a\n": {"SHARES_PORT"}}},
		{"a number", []string{"SHARES_MAX_IN_FLIGHT=many"}, map[string][]string{"": {"SHARES_MAX_IN_FLIGHT"}}},
		{"a choice", []string{"WECHAT_CONTENT_CHECK=yes"}, map[string][]string{"": {"WECHAT_CONTENT_CHECK", "yes"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := slices.Sorted(maps.Keys(tt.want))
			for i, got := range load(t, tt.env, files...) {
				for _, want := range tt.want[files[i]] {
					if !strings.Contains(got.Err, want) {
						t.Errorf("file %q: %q, want %q", files[i], got.Err, want)
					}
				}
				if strings.Contains(got.Err, secret) {
					t.Errorf("file %q: a secret is shown: %q", files[i], got.Err)
				}
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

// Every setting has a variable of its own and stands in the file under its key, and that is the same setting.
func TestEverySettingFromFileAndEnvironment(t *testing.T) {
	t.Parallel()
	settings := Settings()
	if len(settings) != reflect.TypeFor[Config]().NumField() {
		t.Fatalf("%d settings of %d fields", len(settings), reflect.TypeFor[Config]().NumField())
	}
	var file, env []string
	seen := make(map[string]bool)
	for i, s := range settings {
		field := reflect.TypeFor[Config]().Field(i)
		if s.Key != field.Name || s.Env == "" || seen[s.Env] {
			t.Errorf("field %s: key %q, variable %q (used twice: %v)", field.Name, s.Key, s.Env, seen[s.Env])
		}
		seen[s.Env] = true
		value := sample(field)
		file = append(file, s.Key+": "+value)
		env = append(env, s.Env+"="+strings.Trim(value, `"`))
	}
	fromFile := load(t, nil, strings.Join(file, "\n"))[0]
	fromEnv := load(t, env, "")[0]
	if fromFile.Err != "" || fromEnv.Err != "" {
		t.Fatalf("file: %q, environment: %q", fromFile.Err, fromEnv.Err)
	}
	if diff := cmp.Diff(fromFile, fromEnv); diff != "" {
		t.Errorf("(-file +environment):\n%s", diff)
	}
	if slices.Contains(fromEnv.Secrets, "") {
		t.Errorf("secrets not read: %q", fromEnv.Secrets)
	}
	v := reflect.ValueOf(fromEnv.Config)
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Field(i).Type() != reflect.TypeFor[Secret]() {
			t.Errorf("%s was not read", v.Type().Field(i).Name)
		}
	}
}

// sample is a value of a field that is no zero and, where the field has options, one of them; in YAML.
func sample(f reflect.StructField) string {
	if _, options, ok := strings.Cut(f.Tag.Get("json"), "options="); ok {
		return `"` + options[strings.LastIndex(options, "|")+1:] + `"`
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
	return `"value-of-` + f.Name + `"`
}

// The files that ship are taken.
func TestShippedFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../etc/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	var contents []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(content))
	}
	for i, r := range load(t, nil, contents...) {
		if r.Err != "" {
			t.Errorf("%s: %s", files[i], r.Err)
		}
	}
}

// However a secret is printed, it is not.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
	c := Config{Mode: "pro", Host: "visible", SessionSecret: secret, MySQLDSN: secret, RedisPassword: secret, WechatSecret: secret}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", &c)
		fmt.Fprintf(&out, verb+"\n", c.SessionSecret)
		fmt.Fprintf(&out, verb+"\n", []Secret{c.MySQLDSN})
		fmt.Fprintf(&out, verb+"\n", map[string]any{"a": c.WechatSecret})
	}
	fmt.Fprintln(&out, c, c.SessionSecret, errors.New(c.MySQLDSN.String()))
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
		if i := strings.Index(printed, form); i >= 0 {
			t.Errorf("printed: …%s…", printed[max(0, i-60):i+len(form)])
		}
	}
	if !strings.Contains(printed, "visible") {
		t.Error("nothing was printed at all")
	}
}

func TestUnknown(t *testing.T) {
	got := Unknown([]string{
		"SHARES_PORT=82", "SHARES_PROT=82", "WECHAT_SECRETS=hidden", "PATH=/bin", "MYSQL_ROOT_PASSWORD=x", "REDIS_PORT=tcp://10.0.0.1:6379",
		"SHARES_SERVICE_HOST=10.0.0.1", "SHARES_PORT_80_TCP=tcp://10.0.0.1:80", "SHARESX=1", "QRCODE_PAGE=",
	})
	if diff := cmp.Diff([]string{"SHARES_PROT", "WECHAT_SECRETS", "QRCODE_PAGE"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
