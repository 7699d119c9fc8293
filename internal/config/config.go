// Package config holds every setting of every `shares` process in one flat struct, filled from a
// YAML file and the environment, which wins. internal/app validates it and hands it to api and rpc,
// which build go-zero's own configurations from it.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config holds the settings of one process. A setting's key in the file is the field's name, in any
// case. Its tag holds the variable that overrides the file, the default and the allowed values.
// Without a default, the zero value means "not configured".
type Config struct {
	Mode string `env:"SHARES_MODE" default:"dev" options:"dev|pro"` // pro refuses embedded parts

	// The HTTP edge. An empty Host means all addresses, or loopback while the simulator is
	// embedded. Port 0 is any free port. PublicURL is where phones reach the service. AdminListen
	// is the host:port of health probes and metrics.
	Host        string `env:"SHARES_HOST"`
	Port        int    `env:"SHARES_PORT" default:"82" range:"0:65535"`
	PublicURL   string `env:"SHARES_PUBLIC_URL"`
	AdminListen string `env:"SHARES_ADMIN_LISTEN"`

	// TrustedProxies lists the CIDRs whose X-Forwarded-For is trusted, CORSOrigins the allowed
	// origins; both are comma-separated. Dev mode also allows localhost and private networks.
	// Envelope wraps answers as the legacy service did. Timeout is for one request. MaxInFlight
	// limits concurrent requests; more are refused with 503.
	TrustedProxies string        `env:"SHARES_TRUSTED_PROXIES"`
	CORSOrigins    string        `env:"SHARES_CORS_ORIGINS"`
	Envelope       bool          `env:"SHARES_ENVELOPE"`
	Timeout        time.Duration `env:"SHARES_TIMEOUT" default:"5s" range:"1ms:"`
	MaxInFlight    int           `env:"SHARES_MAX_IN_FLIGHT" default:"1024" range:"1:"`

	AccessLog string `env:"SHARES_ACCESS_LOG" default:"on" options:"on|off"`
	LogLevel  string `env:"SHARES_LOG_LEVEL" default:"info" options:"debug|info|warn|error"`

	// Graceful shutdown. The process is unready for Drain before its listener closes. Shutdown,
	// counted from the signal, bounds the whole shutdown.
	Drain    time.Duration `env:"SHARES_DRAIN" default:"0s" range:"0s:"`
	Shutdown time.Duration `env:"SHARES_SHUTDOWN" default:"45s"`

	// Sessions. The secrets are comma-separated: the first signs, all verify. SessionLifetime is
	// the lifetime of one sessionId, SessionMaxAge the time from login to the end of the last
	// renewal.
	SessionSecret   Secret        `env:"SESSION_SECRET"`
	SessionLifetime time.Duration `env:"SESSION_LIFETIME" default:"2h" range:"1m:"`
	SessionMaxAge   time.Duration `env:"SESSION_MAX_AGE" default:"720h"`

	// Rate limits: logins per client address, shared by replicas; requests per user and replica.
	// RateLimit off is for benchmarks.
	RateLimit      string `env:"SHARES_RATE_LIMIT" default:"on" options:"on|off"`
	LoginPerMinute int    `env:"SHARES_LOGIN_PER_MINUTE" default:"3000" range:"1:"`
	UserPerSecond  int    `env:"SHARES_USER_PER_SECOND" default:"20" range:"1:"`
	UserBurst      int    `env:"SHARES_USER_BURST" default:"60" range:"1:"`

	// api → rpc.
	RPCTarget  string        `env:"WEIXIN_RPC_TARGET" default:"dns:///127.0.0.1:8083"`
	RPCListen  string        `env:"SHARES_RPC_LISTEN" default:"127.0.0.1:8083"`
	RPCTimeout time.Duration `env:"SHARES_RPC_TIMEOUT" default:"4500ms" range:"1ms:"`

	// Storage. DataDir holds the embedded parts: SQLite, pictures, the generated session secret.
	// RedisAddr is host:port, for a cluster several, comma-separated. CacheTTL is the lifetime of a
	// row in Redis. LocalUsers is the number of rows cached in the process.
	DataDir       string        `env:"SHARES_DATA_DIR" default:"./data"`
	MySQLDSN      Secret        `env:"MYSQL_DSN"`
	MySQLMaxOpen  int           `env:"MYSQL_MAX_OPEN" default:"32" range:"1:"`
	MySQLTimeout  time.Duration `env:"MYSQL_TIMEOUT" default:"2s" range:"1ms:"`
	RedisAddr     string        `env:"REDIS_ADDR"`
	RedisType     string        `env:"REDIS_TYPE" default:"node" options:"node|cluster"`
	RedisUsername string        `env:"REDIS_USERNAME"`
	RedisPassword Secret        `env:"REDIS_PASSWORD"`
	RedisTLS      bool          `env:"REDIS_TLS"`
	RedisTimeout  time.Duration `env:"REDIS_TIMEOUT" default:"100ms" range:"1ms:"`
	CacheTTL      time.Duration `env:"SHARES_CACHE_TTL" default:"5m" range:"1ms:"`
	LocalUsers    int           `env:"SHARES_LOCAL_USERS" default:"100000" range:"0:"`

	// WeChat.
	WechatAppID   string        `env:"WECHAT_APPID"`
	WechatSecret  Secret        `env:"WECHAT_SECRET"`
	WechatBaseURL string        `env:"WECHAT_BASE_URL" default:"https://api.weixin.qq.com"`
	WechatTimeout time.Duration `env:"WECHAT_TIMEOUT" default:"3s" range:"1ms:"`

	// Users. ContentCheckAway decides about a text while WeChat cannot check it.
	ContentCheck     string `env:"WECHAT_CONTENT_CHECK" default:"off" options:"on|off"`
	ContentCheckAway string `env:"WECHAT_CONTENT_CHECK_AWAY" default:"allow" options:"allow|refuse"`
	Phone            string `env:"SHARES_PHONE" default:"any" options:"any|verified"`
	NewUserCapacity  int    `env:"SHARES_NEW_USER_CAPACITY" default:"5" range:"0:"`

	// Avatars and QR codes. QRCodeBucket is a file:// or s3:// URL; empty means a folder in
	// DataDir. QRCodePublicURL is the bucket's public URL, such as a CDN; empty means that api
	// serves it. QRCodePerMinute is WeChat's quota, shared by replicas. AvatarsPerUserDay and
	// QRCodePerUserDay limit the uploads and the new codes of one user in 24 hours; 0 means no
	// limit.
	AvatarsPerUserDay int    `env:"SHARES_AVATARS_PER_USER_DAY" default:"100" range:"0:"`
	QRCodeBucket      string `env:"QRCODE_BUCKET"`
	QRCodePublicURL   string `env:"QRCODE_PUBLIC_URL"`

	QRCodeEnvVersion string `env:"QRCODE_ENV_VERSION" default:"release" options:"release|trial|develop"`
	QRCodeWidth      int    `env:"QRCODE_WIDTH" default:"430" range:"280:1280"`
	QRCodeCheckPath  bool   `env:"QRCODE_CHECK_PATH" default:"true"`
	QRCodeHyaline    bool   `env:"QRCODE_HYALINE"`
	QRCodeAutoColor  bool   `env:"QRCODE_AUTO_COLOR"`
	QRCodeLineColor  string `env:"QRCODE_LINE_COLOR" default:"#000000"`
	QRCodePerMinute  int    `env:"QRCODE_PER_MINUTE" default:"5000" range:"0:"`
	QRCodePerUserDay int    `env:"QRCODE_PER_USER_DAY" default:"200" range:"0:"`

	// Traces. OTLPEndpoint is an OTLP/gRPC collector; empty means no traces.
	OTLPEndpoint string  `env:"SHARES_OTLP_ENDPOINT"`
	TraceSample  float64 `env:"SHARES_TRACE_SAMPLE" default:"0.01" range:"0:1"`
}

// Secret is a setting that prints as [redacted].
type Secret string

const redacted = "[redacted]"

// String hides the value; convert to string to use it.
func (Secret) String() string { return redacted }

// Format hides the value from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the value from encoders, including slog's.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Load reads the settings from the YAML file at path, if path is not empty, and from environ
// ("NAME=value"), which wins. An empty value counts as not set. Load trims blanks and line breaks
// around a value. The warnings name the trimmed settings and the variables that look like misspelt
// settings. An error names each unknown setting and each setting whose value is not allowed, and
// never the value.
func Load(path string, environ []string) (c Config, warnings []string, err error) {
	file, err := readFile(path)
	if err != nil {
		return c, nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	env := make(map[string]string, len(environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	warnings = misspelt(env)
	var errs []error
	v := reflect.ValueOf(&c).Elem()
	for _, s := range Settings() {
		name, text := s.Env, env[s.Env]
		if strings.TrimSpace(text) == "" {
			name, text = s.Name+" ("+s.Env+")", file[strings.ToLower(s.Name)]
		}
		trimmed := strings.TrimSpace(text)
		if trimmed != text {
			warnings = append(warnings, name+": removed blanks or line breaks around the value")
		}
		if text = cmp.Or(trimmed, s.Default); text == "" {
			continue
		}
		if err := s.set(v.FieldByName(s.Name), text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	errs = append(errs, c.splitRedisURL())
	return c, warnings, errors.Join(errs...)
}

// readFile returns the unparsed values in the file by their keys in lower case.
func readFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file map[string]yaml.Node
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, errors.New("must be a YAML mapping in which each setting occurs once")
	}
	variables := make(map[string]string)
	for _, s := range Settings() {
		variables[strings.ToLower(s.Name)] = s.Env
	}
	values := make(map[string]string)
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(file)) {
		lower, node := strings.ToLower(key), file[key]
		switch {
		case variables[lower] == "":
			unknown = append(unknown, key)
		case node.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("%s (%s): must be a single value", key, variables[lower])
		case node.Tag != "!!null":
			values[lower] = node.Value
		}
	}
	if unknown != nil {
		return nil, fmt.Errorf("unknown settings: %s", strings.Join(unknown, ", "))
	}
	return values, nil
}

// misspelt returns a warning for each variable that looks like a setting of this service but is
// none.
func misspelt(env map[string]string) []string {
	known := map[string]bool{"SESSION_MANAGER": true} // of X11 desktops
	for _, s := range Settings() {
		known[s.Env] = true
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if ours.MatchString(name) && !known[name] && !serviceLink.MatchString(name+"="+env[name]) {
			warnings = append(warnings, name+": unknown setting (typo?)")
		}
	}
	return warnings
}

// ours matches the variables that no other program uses, unlike MYSQL_ and REDIS_.
var ours = regexp.MustCompile(`^(SHARES|SESSION|WEIXIN|WECHAT|QRCODE)_`)

// serviceLink matches variables that Kubernetes and Docker make for a service called shares.
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT)|_PORT_\d+_|_PORT=(tcp|udp)://`)

// Setting is one setting: the field of Config, and its tag.
type Setting struct {
	Name, Env, Default string

	options     []string // empty: any text
	least, most string   // the range, inclusive; empty: no bound
}

// Settings lists every setting in the order of Config.
func Settings() []Setting {
	var settings []Setting
	for f := range reflect.TypeFor[Config]().Fields() {
		s := Setting{Name: f.Name, Env: f.Tag.Get("env"), Default: f.Tag.Get("default")}
		if options := f.Tag.Get("options"); options != "" {
			s.options = strings.Split(options, "|")
		}
		s.least, s.most, _ = strings.Cut(f.Tag.Get("range"), ":")
		settings = append(settings, s)
	}
	return settings
}

// set parses text into field. Its error says what is allowed.
func (s Setting) set(field reflect.Value, text string) error {
	var err error
	var number float64
	allowed := ""
	switch v := field.Addr().Interface().(type) {
	case *bool:
		allowed = "true or false"
		*v, err = strconv.ParseBool(text)
	case *int:
		allowed = "a whole number"
		*v, err = strconv.Atoi(text)
		number = float64(*v)
	case *float64:
		allowed = "a number"
		*v, err = strconv.ParseFloat(text, 64)
		number = *v
	case *time.Duration:
		allowed = "a duration such as 500ms or 2h"
		*v, err = time.ParseDuration(text)
		number = float64(*v)
	default:
		allowed = strings.Join(s.options, " or ")
		if s.options != nil && !slices.Contains(s.options, text) {
			err = errors.ErrUnsupported
		}
		field.SetString(text)
	}
	if err == nil && (s.least == "" || number >= bound(s.least)) &&
		(s.most == "" || number <= bound(s.most)) {
		return nil
	}
	if s.most != "" {
		allowed += ", from " + s.least + " to " + s.most
	} else if s.least != "" {
		allowed += ", at least " + s.least
	}
	if strings.HasPrefix(text, "tcp://") {
		return fmt.Errorf("must be %s; the value is from Kubernetes, for a Service of that name: "+
			"set enableServiceLinks: false in the pod", allowed)
	}
	return fmt.Errorf("must be %s", allowed)
}

// bound parses a bound into the unit of the setting, which is nanoseconds for a duration.
func bound(text string) float64 {
	if d, err := time.ParseDuration(text); err == nil {
		return float64(d)
	}
	n, _ := strconv.ParseFloat(text, 64)
	return n
}
