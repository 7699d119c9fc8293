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

// Config is the settings of one process. A field's tag, in go-zero's form, holds the key in the file
// (whatever its case), the variable that overrides it, the default, and what is allowed. A zero
// value means "not configured" where there is no default.
type Config struct {
	Mode string `json:"Mode,env=SHARES_MODE,default=dev,options=dev|pro"` // pro refuses embedded parts

	// The HTTP edge.
	Host           string        `json:"Host,env=SHARES_HOST,optional"`                                // address to listen on; empty: all, but loopback while the simulator is embedded
	Port           int           `json:"Port,env=SHARES_PORT,default=82,range=[0:65535]"`              // 0: any free port
	PublicURL      string        `json:"PublicURL,env=SHARES_PUBLIC_URL,optional"`                     // scheme and host that phones reach, no trailing slash
	AdminListen    string        `json:"AdminListen,env=SHARES_ADMIN_LISTEN,optional"`                 // host:port of health probes and metrics; empty: none
	TrustedProxies string        `json:"TrustedProxies,env=SHARES_TRUSTED_PROXIES,optional"`           // comma-separated CIDRs whose X-Forwarded-For counts
	CORSOrigins    string        `json:"CORSOrigins,env=SHARES_CORS_ORIGINS,optional"`                 // comma-separated origins; empty: none (dev: localhost and private networks)
	Envelope       bool          `json:"Envelope,env=SHARES_ENVELOPE,optional"`                        // wrap answers as the legacy service did
	Timeout        time.Duration `json:"Timeout,env=SHARES_TIMEOUT,default=5s,range=[1ms:]"`           // of one request, all of it
	MaxInFlight    int           `json:"MaxInFlight,env=SHARES_MAX_IN_FLIGHT,default=1024,range=[1:]"` // requests worked on at once; more are refused with 503
	AccessLog      string        `json:"AccessLog,env=SHARES_ACCESS_LOG,default=on,options=on|off"`
	LogLevel       string        `json:"LogLevel,env=SHARES_LOG_LEVEL,default=info,options=debug|info|warn|error"`

	// Graceful shutdown: readiness is off for Drain before the listener closes. Shutdown, counted
	// from the signal, bounds all of it.
	Drain    time.Duration `json:"Drain,env=SHARES_DRAIN,default=0s,range=[0s:]"`
	Shutdown time.Duration `json:"Shutdown,env=SHARES_SHUTDOWN,default=45s"`

	// Sessions.
	SessionSecret   Secret        `json:"SessionSecret,env=SESSION_SECRET,optional"`                   // comma-separated: the first signs, all verify; 32 characters each or more
	SessionLifetime time.Duration `json:"SessionLifetime,env=SESSION_LIFETIME,default=2h,range=[1m:]"` // of one sessionId
	SessionMaxAge   time.Duration `json:"SessionMaxAge,env=SESSION_MAX_AGE,default=720h"`              // from login to the last renewal's end

	// Rate limits. RateLimit off is for benchmarks.
	RateLimit      string `json:"RateLimit,env=SHARES_RATE_LIMIT,default=on,options=on|off"`
	LoginPerMinute int    `json:"LoginPerMinute,env=SHARES_LOGIN_PER_MINUTE,default=3000,range=[1:]"` // per client address, shared by replicas
	UserPerSecond  int    `json:"UserPerSecond,env=SHARES_USER_PER_SECOND,default=20,range=[1:]"`     // per user and replica
	UserBurst      int    `json:"UserBurst,env=SHARES_USER_BURST,default=60,range=[1:]"`

	// api → rpc.
	RPCTarget  string        `json:"RPCTarget,env=WEIXIN_RPC_TARGET,default=dns:///127.0.0.1:8083"`
	RPCListen  string        `json:"RPCListen,env=SHARES_RPC_LISTEN,default=127.0.0.1:8083"`
	RPCTimeout time.Duration `json:"RPCTimeout,env=SHARES_RPC_TIMEOUT,default=4500ms,range=[1ms:]"`

	// Storage. DataDir holds what is embedded: SQLite, pictures, the made-up session secret.
	DataDir       string        `json:"DataDir,env=SHARES_DATA_DIR,default=./data"`
	MySQLDSN      Secret        `json:"MySQLDSN,env=MYSQL_DSN,optional"`
	MySQLMaxOpen  int           `json:"MySQLMaxOpen,env=MYSQL_MAX_OPEN,default=32,range=[1:]"`
	MySQLTimeout  time.Duration `json:"MySQLTimeout,env=MYSQL_TIMEOUT,default=2s,range=[1ms:]"`
	RedisAddr     string        `json:"RedisAddr,env=REDIS_ADDR,optional"` // host:port; of a cluster, several, comma-separated
	RedisType     string        `json:"RedisType,env=REDIS_TYPE,default=node,options=node|cluster"`
	RedisUsername string        `json:"RedisUsername,env=REDIS_USERNAME,optional"`
	RedisPassword Secret        `json:"RedisPassword,env=REDIS_PASSWORD,optional"`
	RedisTLS      bool          `json:"RedisTLS,env=REDIS_TLS,optional"`
	RedisTimeout  time.Duration `json:"RedisTimeout,env=REDIS_TIMEOUT,default=100ms,range=[1ms:]"`
	CacheTTL      time.Duration `json:"CacheTTL,env=SHARES_CACHE_TTL,default=5m,range=[1ms:]"`       // of a row in Redis
	LocalUsers    int           `json:"LocalUsers,env=SHARES_LOCAL_USERS,default=100000,range=[0:]"` // rows kept in the process; 0: none

	// WeChat.
	WechatAppID      string        `json:"WechatAppID,env=WECHAT_APPID,optional"`
	WechatSecret     Secret        `json:"WechatSecret,env=WECHAT_SECRET,optional"`
	WechatBaseURL    string        `json:"WechatBaseURL,env=WECHAT_BASE_URL,default=https://api.weixin.qq.com"`
	WechatTimeout    time.Duration `json:"WechatTimeout,env=WECHAT_TIMEOUT,default=3s,range=[1ms:]"`
	ContentCheck     string        `json:"ContentCheck,env=WECHAT_CONTENT_CHECK,default=off,options=on|off"`
	ContentCheckAway string        `json:"ContentCheckAway,env=WECHAT_CONTENT_CHECK_AWAY,default=allow,options=allow|refuse"` // when WeChat cannot say
	Phone            string        `json:"Phone,env=SHARES_PHONE,default=any,options=any|verified"`
	NewUserCapacity  int           `json:"NewUserCapacity,env=SHARES_NEW_USER_CAPACITY,default=5,range=[0:]"`

	// Avatars and QR codes.
	AvatarsPerUserDay int `json:"AvatarsPerUserDay,env=SHARES_AVATARS_PER_USER_DAY,default=100,range=[0:]"` // uploads of one user in 24 hours; 0: any

	QRCodeBucket     string `json:"QRCodeBucket,env=QRCODE_BUCKET,optional"`        // file:// or s3:// URL; empty: a folder in DataDir
	QRCodePublicURL  string `json:"QRCodePublicURL,env=QRCODE_PUBLIC_URL,optional"` // where the bucket is public, such as a CDN; empty: served by api
	QRCodeEnvVersion string `json:"QRCodeEnvVersion,env=QRCODE_ENV_VERSION,default=release,options=release|trial|develop"`
	QRCodeWidth      int    `json:"QRCodeWidth,env=QRCODE_WIDTH,default=430,range=[280:1280]"`
	QRCodeCheckPath  bool   `json:"QRCodeCheckPath,env=QRCODE_CHECK_PATH,default=true"`
	QRCodeHyaline    bool   `json:"QRCodeHyaline,env=QRCODE_HYALINE,optional"`
	QRCodeAutoColor  bool   `json:"QRCodeAutoColor,env=QRCODE_AUTO_COLOR,optional"`
	QRCodeLineColor  string `json:"QRCodeLineColor,env=QRCODE_LINE_COLOR,default=#000000"`
	QRCodePerMinute  int    `json:"QRCodePerMinute,env=QRCODE_PER_MINUTE,default=5000,range=[0:]"`   // WeChat's quota, shared by replicas
	QRCodePerUserDay int    `json:"QRCodePerUserDay,env=QRCODE_PER_USER_DAY,default=200,range=[0:]"` // new codes one user may cause in 24 hours; 0: any

	// Traces: where an OTLP/gRPC collector listens; empty: none.
	OTLPEndpoint string  `json:"OTLPEndpoint,env=SHARES_OTLP_ENDPOINT,optional"`
	TraceSample  float64 `json:"TraceSample,env=SHARES_TRACE_SAMPLE,default=0.01,range=[0:1]"`
}

// Secret is a setting that must not be seen: it prints as [redacted].
type Secret string

const redacted = "[redacted]"

// String hides the value; convert to string to use it.
func (Secret) String() string { return redacted }

// Format hides the value from every verb, those too that do not fit a text.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the value from encoders, slog's among them.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Load reads the YAML file at path, if path is not empty, and environ ("NAME=value"), which wins.
// An empty value counts as not set. Blanks and line breaks around a value are removed: the warnings
// name the settings concerned, and the variables that look like misspelt settings. An error names
// each setting that is unknown or has a value that is not allowed, and never the value.
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
	for i, s := range Settings() {
		name, text := s.Env, env[s.Env]
		if strings.TrimSpace(text) == "" {
			name, text = s.Key+" ("+s.Env+")", file[strings.ToLower(s.Key)]
		}
		trimmed := strings.TrimSpace(text)
		if trimmed != text {
			warnings = append(warnings, name+": removed blanks or line breaks around the value")
		}
		if text = cmp.Or(trimmed, s.Default); text == "" {
			continue
		}
		if err := s.set(v.Field(i), text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	errs = append(errs, c.splitRedisURL())
	return c, warnings, errors.Join(errs...)
}

// readFile returns the values in the file by their keys in lower case.
func readFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file map[string]any
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, errors.New("must be a YAML mapping in which each setting occurs once")
	}
	var texts map[string]string // as they are written: 007 is not 7
	_ = yaml.Unmarshal(content, &texts)
	names := make(map[string]string)
	for _, s := range Settings() {
		names[strings.ToLower(s.Key)] = s.Env
	}
	values := make(map[string]string)
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(file)) {
		lower := strings.ToLower(key)
		switch file[key].(type) {
		case []any, map[string]any, map[any]any:
			if env := names[lower]; env != "" {
				return nil, fmt.Errorf("%s (%s): must be a single value", key, env)
			}
		}
		if names[lower] == "" {
			unknown = append(unknown, key)
		}
		values[lower] = texts[key]
	}
	if unknown != nil {
		return nil, fmt.Errorf("unknown settings: %s", strings.Join(unknown, ", "))
	}
	return values, nil
}

// misspelt returns a warning for each variable that looks like a setting of this service and is
// none.
func misspelt(env map[string]string) []string {
	known := map[string]bool{"SESSION_MANAGER": true} // of X11 desktops
	prefixes := make(map[string]bool)
	for _, s := range Settings() {
		known[s.Env] = true
		prefix, _, _ := strings.Cut(s.Env, "_")
		prefixes[prefix] = prefix != "MYSQL" && prefix != "REDIS" // other programs use those, too
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		prefix, _, _ := strings.Cut(name, "_")
		if prefixes[prefix] && !known[name] && !serviceLink.MatchString(name+"="+env[name]) {
			warnings = append(warnings, name+": unknown setting (typo?)")
		}
	}
	return warnings
}

// serviceLink matches variables that Kubernetes and Docker make for a service called shares.
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT)|_PORT_\d+_|_PORT=(tcp|udp)://`)

// Setting is one setting, as its tag describes it.
type Setting struct {
	Key, Env, Default string

	options     []string
	least, most string // the range, inclusive; empty: no bound
}

// Settings lists every setting in the order of Config.
func Settings() []Setting {
	t := reflect.TypeFor[Config]()
	settings := make([]Setting, 0, t.NumField())
	for i := range t.NumField() {
		key, tag, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		s := Setting{Key: key}
		for option := range strings.SplitSeq(tag, ",") {
			switch name, value, _ := strings.Cut(option, "="); name {
			case "env":
				s.Env = value
			case "default":
				s.Default = value
			case "options":
				s.options = strings.Split(value, "|")
			case "range":
				s.least, s.most, _ = strings.Cut(strings.Trim(value, "[]"), ":")
			}
		}
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
		allowed = "a whole number" + s.bounds()
		*v, err = strconv.Atoi(text)
		number = float64(*v)
	case *float64:
		allowed = "a number" + s.bounds()
		*v, err = strconv.ParseFloat(text, 64)
		number = *v
	case *time.Duration:
		allowed = "a duration such as 500ms or 2h" + s.bounds()
		*v, err = time.ParseDuration(text)
		number = float64(*v)
	default:
		allowed = strings.Join(s.options, " or ")
		if s.options != nil && !slices.Contains(s.options, text) {
			err = errors.ErrUnsupported
		}
		field.SetString(text)
	}
	switch {
	case err == nil && s.within(number):
		return nil
	case strings.HasPrefix(text, "tcp://"):
		return fmt.Errorf("must be %s; the value is from Kubernetes, for a Service of that name: "+
			"set enableServiceLinks: false in the pod", allowed)
	}
	return fmt.Errorf("must be %s", allowed)
}

func (s Setting) bounds() string {
	switch {
	case s.most != "":
		return ", from " + s.least + " to " + s.most
	case s.least != "":
		return ", at least " + s.least
	}
	return ""
}

func (s Setting) within(number float64) bool {
	return (s.least == "" || number >= bound(s.least)) && (s.most == "" || number <= bound(s.most))
}

// bound returns a bound in the unit of the setting, which is nanoseconds for a duration.
func bound(text string) float64 {
	if d, err := time.ParseDuration(text); err == nil {
		return float64(d)
	}
	n, _ := strconv.ParseFloat(text, 64)
	return n
}
