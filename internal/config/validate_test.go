package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const thirtyTwo = "0123456789abcdef0123456789abcdef"

// embedded returns a configuration that Validate accepts for `serve` in dev mode.
func embedded() Config {
	return Config{
		Mode: "dev", Timeout: 5 * time.Second, MaxInFlight: 1024, Shutdown: 45 * time.Second,
		SessionLifetime: 2 * time.Hour, SessionMaxAge: 720 * time.Hour, LoginPerMinute: 3000, UserPerSecond: 20, UserBurst: 60,
		RPCListen: "127.0.0.1:8083", RPCTimeout: 4500 * time.Millisecond, MySQLMaxOpen: 32, MySQLTimeout: 2 * time.Second,
		RedisTimeout: 100 * time.Millisecond, WechatBaseURL: "https://api.weixin.qq.com", WechatTimeout: 3 * time.Second,
		QRCodeLineColor: "#000000", RedisType: "node",
	}
}

// real returns a configuration that Validate accepts for every role in pro mode.
func real() Config {
	c := embedded()
	c.Mode = "pro"
	c.PublicURL, c.SessionSecret = "https://api.example.com", thirtyTwo
	c.MySQLDSN, c.RedisAddr = "u:p@tcp(db:3306)/shares", "redis:6379"
	c.WechatAppID, c.WechatSecret, c.QRCodeBucket = "wx0123", "secret", "s3://codes"
	return c
}

// named returns the variables that an error calls required.
func named(err error) []string {
	if err == nil {
		return nil
	}
	var variables []string
	for line := range strings.Lines(err.Error()) {
		if v, ok := strings.CutSuffix(strings.TrimSpace(line), " is required"); ok {
			variables = append(variables, v)
		}
	}
	slices.Sort(variables)
	return slices.Compact(variables)
}

func TestRequired(t *testing.T) {
	bare := map[string]Config{"dev": embedded(), "pro": embedded()}
	pro := bare["pro"]
	pro.Mode = "pro"
	bare["pro"] = pro
	for _, tt := range []struct {
		mode string
		role Role
		want []string
	}{
		{"dev", RoleServe, nil},
		{"dev", RoleAPI, []string{"QRCODE_BUCKET", "REDIS_ADDR", "SESSION_SECRET", "WECHAT_APPID"}},
		{"dev", RoleRPC, []string{"MYSQL_DSN", "QRCODE_BUCKET", "REDIS_ADDR", "WECHAT_APPID", "WECHAT_SECRET"}},
		{"dev", RoleMigrate, nil},
		{"dev", RoleUser, nil},
		{"pro", RoleServe, []string{"MYSQL_DSN", "QRCODE_BUCKET", "REDIS_ADDR", "SESSION_SECRET", "SHARES_PUBLIC_URL", "WECHAT_APPID", "WECHAT_SECRET"}},
		{"pro", RoleAPI, []string{"QRCODE_BUCKET", "REDIS_ADDR", "SESSION_SECRET", "SHARES_PUBLIC_URL", "WECHAT_APPID"}},
		{"pro", RoleRPC, []string{"MYSQL_DSN", "QRCODE_BUCKET", "REDIS_ADDR", "WECHAT_APPID", "WECHAT_SECRET"}},
		{"pro", RoleMigrate, []string{"MYSQL_DSN", "WECHAT_APPID"}},
		{"pro", RoleUser, []string{"MYSQL_DSN", "QRCODE_BUCKET", "REDIS_ADDR", "WECHAT_APPID"}},
	} {
		err := bare[tt.mode].Validate(tt.role)
		if diff := cmp.Diff(tt.want, named(err)); diff != "" {
			t.Errorf("role %s in %s (-want +got):\n%s", tt.role, tt.mode, diff)
		}
		if tt.want == nil && err != nil {
			t.Errorf("role %s in %s: %v", tt.role, tt.mode, err)
		}
		if err := real().Validate(tt.role); err != nil {
			t.Errorf("role %s with all settings: %v", tt.role, err)
		}
	}
}

var validations = []struct {
	name   string
	change func(*Config)
	roles  []Role // that refuse it; the others accept it
	want   string // in the error
}{
	{"a short secret", func(c *Config) { c.SessionSecret = "hunter2-hunter2" },
		all, "SESSION_SECRET: secret 1 has 15 bytes, at least 32"},
	{"a short second secret", func(c *Config) { c.SessionSecret += ",hunter2" },
		all, "SESSION_SECRET: secret 2 has 7"},
	{"two secrets", func(c *Config) { c.SessionSecret += secondSecret }, nil, ""},
	{"a list without items", func(c *Config) { c.SessionSecret = " , " }, all, "SESSION_SECRET: must not be empty"},
	{"the placeholder of the example", func(c *Config) { c.SessionSecret = "replace-me-with-48-random-characters-0123456789ab" }, all, "SESSION_SECRET: is the placeholder"},
	{"a placeholder for WeChat", func(c *Config) { c.WechatSecret = "replace-me" }, all, "WECHAT_SECRET: is the placeholder"},
	{"two addresses without cluster", func(c *Config) { c.RedisAddr = "a:6379,b:6379" }, all, "REDIS_TYPE=cluster"},
	{"two addresses of a cluster", func(c *Config) { c.RedisAddr, c.RedisType = "a:6379,b:6379", "cluster" }, nil, ""},
	{"two addresses of a proxy", func(c *Config) { c.RedisAddr, c.RedisType = "a:6379,b:6379", "proxy" }, all, "REDIS_TYPE=proxy allows one"},
	{"two sentinels", func(c *Config) { c.RedisAddr, c.RedisType, c.RedisMaster = "a:6379,b:6379", "sentinel", "m" }, nil, ""},
	{"sentinels without a master", func(c *Config) { c.RedisType = "sentinel" }, all, "REDIS_MASTER: is required"},
	{"a master without sentinels", func(c *Config) { c.RedisMaster = "m" }, all, "REDIS_MASTER: is required"},
	{"a placeholder for sentinels", func(c *Config) { c.RedisSentinelPassword = "replace-me" }, all, "REDIS_SENTINEL_PASSWORD: is the placeholder"},
	{"a database of a cluster", func(c *Config) { c.RedisType, c.RedisDB = "cluster", 1 }, all, "REDIS_DB: a cluster has only database 0"},
	{"a prefix", func(c *Config) { c.RedisPrefix = "two:shares-b_1" }, nil, ""},
	{"a prefix with braces", func(c *Config) { c.RedisPrefix = "{shares}" }, all, "SHARES_REDIS_PREFIX: must consist of"},
	{"an AppID with a colon", func(c *Config) { c.WechatAppID = "a:b" }, all, "WECHAT_APPID: must consist of"},
	{"a private authority", func(c *Config) { c.RedisTLS, c.RedisTLSCA = true, "ca.pem" }, nil, ""},
	{"an authority without TLS", func(c *Config) { c.RedisTLSCA = "ca.pem" }, all, "REDIS_TLS: must be true"},
	{"a certificate for MySQL without key", func(c *Config) { c.MySQLTLSCert = "cert.pem" }, all, "MYSQL_TLS_CERT and MYSQL_TLS_KEY"},
	{"a certificate without key", func(c *Config) { c.RedisTLS, c.RedisTLSCert = true, "cert.pem" }, all, "REDIS_TLS_CERT and REDIS_TLS_KEY"},
	{"unverified TLS", func(c *Config) { c.RedisTLS, c.RedisTLSSkipVerify = true, true }, all, "REDIS_TLS_SKIP_VERIFY: is refused in pro mode"},
	{"a Redis without port", func(c *Config) { c.RedisAddr = "redis" }, all, "REDIS_ADDR: must be host:port"},
	{"a Redis with a password", func(c *Config) { c.RedisAddr = "hunter2@redis:6379" }, all, "REDIS_ADDR: must be a host name"},
	{"a push key without token", func(c *Config) { c.PushAESKey = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" }, all, "need WECHAT_PUSH_TOKEN"},
	{"a short push key", func(c *Config) { c.PushToken, c.PushAESKey = "t", "short" }, all, "WECHAT_PUSH_AES_KEY: must be the EncodingAESKey"},
	{"a forward URL with a query", func(c *Config) { c.PushForwardURL = "https://a.example.com/?b" }, all, "WECHAT_PUSH_FORWARD_URL"},
	{"plain mode in pro", func(c *Config) { c.Mode, c.PushToken = "pro", "t" }, all, "WECHAT_PUSH_AES_KEY: is required with WECHAT_PUSH_TOKEN"},
	{"a host in brackets", func(c *Config) { c.Host = "[::1]" }, all, "SHARES_HOST: must be a host name or IP address alone"},
	{"an IPv6 host", func(c *Config) { c.Host = "::1" }, nil, ""},
	{"an admin listener out of range", func(c *Config) { c.AdminListen = ":70000" }, all, "SHARES_ADMIN_LISTEN: must be host:port with a port from 0 to 65535"},
	{"a listener on every address", func(c *Config) { c.RPCListen = ":8083" }, nil, ""},
	{"an absolute lifetime below one session's", func(c *Config) { c.SessionMaxAge = time.Hour }, all, "SESSION_MAX_AGE"},
	{"a proxy by name", func(c *Config) { c.TrustedProxies = "10.0.0.0/8, ingress" }, all, `SHARES_TRUSTED_PROXIES: "ingress"`},
	{"an origin with a path", func(c *Config) { c.CORSOrigins = "https://a.example.com/h5" }, all, "SHARES_CORS_ORIGINS"},
	{"a public URL without scheme", func(c *Config) { c.PublicURL = "api.example.com" }, all, "SHARES_PUBLIC_URL"},
	{"a public URL with a slash", func(c *Config) { c.PublicURL += "/" }, all, "SHARES_PUBLIC_URL: must not end with a slash"},
	{"a public URL with port 443", func(c *Config) { c.PublicURL += ":443" }, all, "SHARES_PUBLIC_URL: must not name port 443"},
	{"a public URL with a user", func(c *Config) { c.PublicURL = "https://u:hunter2@example.com" }, all, "SHARES_PUBLIC_URL"},
	{"a public URL under a path", func(c *Config) { c.PublicURL += "/mini" }, nil, ""},
	{"a CDN by ftp", func(c *Config) { c.QRCodePublicURL = "ftp://cdn.example.com" }, all, "QRCODE_PUBLIC_URL"},
	{"an rpc timeout above the request's", func(c *Config) { c.RPCTimeout = 5 * time.Second }, []Role{RoleAPI}, "SHARES_RPC_TIMEOUT"},
	{"a WeChat timeout above the rpc's", func(c *Config) { c.WechatTimeout = 4500 * time.Millisecond }, []Role{RoleServe, RoleRPC}, "WECHAT_TIMEOUT"},
	{"a MySQL timeout above the rpc's", func(c *Config) { c.MySQLTimeout = 5 * time.Second }, []Role{RoleServe, RoleRPC}, "MYSQL_TIMEOUT"},
	{"a WeChat URL without scheme", func(c *Config) { c.WechatBaseURL = "api.weixin.qq.com" }, all, "WECHAT_BASE_URL"},
	{"an AppID without secret", func(c *Config) { c.Mode, c.WechatSecret = "dev", "" }, []Role{RoleServe, RoleRPC}, "WECHAT_APPID and WECHAT_SECRET"},
	{"a secret without AppID", func(c *Config) { c.Mode, c.WechatAppID = "dev", "" }, []Role{RoleServe, RoleAPI, RoleRPC}, "WECHAT_APPID"},
	{"a color by name", func(c *Config) { c.QRCodeLineColor = "red" }, all, "QRCODE_LINE_COLOR"},
	{"a listener without port", func(c *Config) { c.RPCListen = "127.0.0.1" }, all, "SHARES_RPC_LISTEN"},
	{"a caller without token", func(c *Config) { c.InternalCallers = "orders" }, all, "SHARES_INTERNAL_CALLERS: entry 1 must be name:token"},
	{"a caller without name", func(c *Config) { c.InternalCallers = "orders:" + callerToken + ",:" + callerToken }, all, "SHARES_INTERNAL_CALLERS: entry 2 must be name:token"},
	{"a token of two callers", func(c *Config) { c.InternalCallers = "a:" + callerToken + ",b+phone:" + callerToken }, all, "SHARES_INTERNAL_CALLERS: a token occurs twice"},
	{"a path of WeChat's with dots", func(c *Config) { c.WechatPaths = "/cgi-bin/message/,/wxa/.." }, all, "SHARES_WECHAT_PATHS: \"/wxa/..\" must be a path"},
	{"all paths of WeChat's", func(c *Config) { c.WechatPaths = "/" }, all, "SHARES_WECHAT_PATHS"},
	{"no time after draining", func(c *Config) { c.Drain = c.Shutdown }, []Role{RoleServe, RoleAPI, RoleRPC}, "SHARES_SHUTDOWN: must be at least"},
}

const (
	callerToken  = "0123456789abcdef0123456789abcdef"
	secondSecret = ",fedcba9876543210fedcba9876543210"
)

func TestValidate(t *testing.T) {
	for _, tt := range validations {
		t.Run(tt.name, func(t *testing.T) {
			c := real()
			tt.change(&c)
			for _, role := range all {
				err := c.Validate(role)
				if refused := err != nil; refused != slices.Contains(tt.roles, role) {
					t.Errorf("role %s: %v", role, err)
				}
				if err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("role %s: %v, want %q", role, err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("role %s: a secret is in the error: %v", role, err)
				}
			}
		})
	}
}

var all = []Role{RoleServe, RoleAPI, RoleRPC, RoleMigrate, RoleUser}

func TestProxies(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                nil,
		"10.0.0.0/8":                      {"10.0.0.0/8"},
		"10.1.2.3/8":                      {"10.0.0.0/8"},
		"10.1.2.3":                        {"10.1.2.3/32"},
		"::ffff:10.0.0.0/104":             {"10.0.0.0/8"},
		"::ffff:10.1.2.3":                 {"10.1.2.3/32"},
		"::ffff:0:0/96":                   {"0.0.0.0/0"},
		"fd00::/8, 2001:db8::1,":          {"fd00::/8", "2001:db8::1/128"},
		" 192.168.0.0/16 , 172.16.0.0/12": {"192.168.0.0/16", "172.16.0.0/12"},
	} {
		got, err := Config{TrustedProxies: in}.Proxies()
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		var texts []string
		for _, p := range got {
			texts = append(texts, p.String())
		}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{"10.0.0.0/33", "ingress", "10.0.0.0/8 fd00::/8", "*", "::ffff:10.0.0.0/80"} {
		if got, err := (Config{TrustedProxies: in}).Proxies(); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// Origins are compared in the one form that browsers send.
func TestOrigins(t *testing.T) {
	for in, want := range map[string]string{
		"https://h5.example.org":         "https://h5.example.org",
		"https://h5.example.org:443":     "https://h5.example.org",
		"http://h5.example.org:80":       "http://h5.example.org",
		"https://h5.example.org:80":      "https://h5.example.org:80",
		"http://h5.example.org:8080":     "http://h5.example.org:8080",
		"HTTPS://H5.Example.ORG:443":     "https://h5.example.org",
		"https://h5_test.example.org":    "https://h5_test.example.org",
		"https://例子.com":                 "https://xn--fsqu00a.com",
		"https://例子.com:8443":            "https://xn--fsqu00a.com:8443",
		"https://Bücher.example":         "https://xn--bcher-kva.example",
		"http://127.0.0.1:8080":          "http://127.0.0.1:8080",
		"http://[2001:DB8::1]:80":        "http://[2001:db8::1]",
		" https://a.example , ,http://b": "https://a.example http://b",
		"":                               "",
	} {
		got, err := Config{CORSOrigins: in}.Origins()
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"https://*.example.com":       "wildcards such as *. are not supported",
		"https://a, http://*.b:8080":  "wildcards such as *. are not supported",
		"https://a.example.com:99999": "port",
		"null":                        "http:// or https://",
		"h5.example.com":              "http:// or https://",
	} {
		if got, err := (Config{CORSOrigins: in}).Origins(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want an error with %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "", "https://Shares.Example.com": "https://shares.example.com",
		"https://例子.com/wx": "https://xn--fsqu00a.com",
	} {
		if got, err := (Config{PublicURL: in}).PublicOrigin(); err != nil || got != want {
			t.Errorf("public URL %q: %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestLineColor(t *testing.T) {
	for in, want := range map[string][3]uint8{"#000000": {}, "#1a73e8": {0x1a, 0x73, 0xe8}, "FFfF00": {255, 255, 0}} {
		if got, err := (Config{QRCodeLineColor: in}).LineColor(); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", in, got, err, want)
		}
	}
}
