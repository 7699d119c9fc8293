// Package config holds every setting of every `shares` process: one flat
// struct, filled from a YAML file and the environment, which wins. Parsing and
// validation end here; what a process gets is valid. main hands it to api and
// rpc, which build go-zero's own configurations from it.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/conf"
	"gopkg.in/yaml.v2"
)

// Config is the settings of one process. A field's env tag names the variable
// that overrides the file's key, which is the json tag (case does not count).
// Zero values mean "not configured" wherever a default is not given.
type Config struct {
	Mode string `json:"Mode,env=SHARES_MODE,default=dev,options=dev|pro"` // pro refuses embedded parts

	// The HTTP edge.
	Host           string        `json:"Host,env=SHARES_HOST,optional"`                      // address to listen on; empty: all, but loopback while the simulator is embedded
	Port           int           `json:"Port,env=SHARES_PORT,default=82,range=[0:65535]"`    // 0: any free port
	PublicURL      string        `json:"PublicURL,env=SHARES_PUBLIC_URL,optional"`           // scheme and host that phones reach, no trailing slash
	AdminListen    string        `json:"AdminListen,env=SHARES_ADMIN_LISTEN,optional"`       // host:port of health probes and metrics; empty: none
	TrustedProxies string        `json:"TrustedProxies,env=SHARES_TRUSTED_PROXIES,optional"` // comma-separated CIDRs whose X-Forwarded-For counts
	CORSOrigins    string        `json:"CORSOrigins,env=SHARES_CORS_ORIGINS,optional"`       // comma-separated origins; empty: none (dev: localhost and private networks)
	Envelope       bool          `json:"Envelope,env=SHARES_ENVELOPE,optional"`              // wrap answers as the first system did
	Timeout        time.Duration `json:"Timeout,env=SHARES_TIMEOUT,default=5s"`              // of one request, all of it
	MaxInFlight    int           `json:"MaxInFlight,env=SHARES_MAX_IN_FLIGHT,default=1024"`  // requests worked on at once; more are refused with 503
	AccessLog      string        `json:"AccessLog,env=SHARES_ACCESS_LOG,default=on,options=on|off"`
	LogLevel       string        `json:"LogLevel,env=SHARES_LOG_LEVEL,default=info,options=debug|info|warn|error"`

	// Winding down: readiness is off for Drain before the listener closes;
	// what runs then has until Shutdown (counted from the signal).
	Drain    time.Duration `json:"Drain,env=SHARES_DRAIN,default=0s"`
	Shutdown time.Duration `json:"Shutdown,env=SHARES_SHUTDOWN,default=15s"`

	// Sessions.
	SessionSecret   Secret        `json:"SessionSecret,env=SESSION_SECRET,optional"`       // comma-separated: the first signs, all verify; 32 characters each or more
	SessionLifetime time.Duration `json:"SessionLifetime,env=SESSION_LIFETIME,default=2h"` // of one sessionId
	SessionMaxAge   time.Duration `json:"SessionMaxAge,env=SESSION_MAX_AGE,default=720h"`  // from login to the last renewal's end

	// Rate limits. RateLimit off is for benchmarks.
	RateLimit      string `json:"RateLimit,env=SHARES_RATE_LIMIT,default=on,options=on|off"`
	LoginPerMinute int    `json:"LoginPerMinute,env=SHARES_LOGIN_PER_MINUTE,default=3000"` // per client address, shared by replicas
	UserPerSecond  int    `json:"UserPerSecond,env=SHARES_USER_PER_SECOND,default=20"`     // per user and replica
	UserBurst      int    `json:"UserBurst,env=SHARES_USER_BURST,default=60"`

	// api → rpc.
	RPCTarget  string        `json:"RPCTarget,env=WEIXIN_RPC_TARGET,default=dns:///127.0.0.1:8083"`
	RPCListen  string        `json:"RPCListen,env=SHARES_RPC_LISTEN,default=127.0.0.1:8083"`
	RPCTimeout time.Duration `json:"RPCTimeout,env=SHARES_RPC_TIMEOUT,default=4500ms"`

	// Storage. DataDir holds what is embedded: SQLite, pictures, the made-up session secret.
	DataDir       string        `json:"DataDir,env=SHARES_DATA_DIR,default=./data"`
	MySQLDSN      Secret        `json:"MySQLDSN,env=MYSQL_DSN,optional"`
	MySQLMaxOpen  int           `json:"MySQLMaxOpen,env=MYSQL_MAX_OPEN,default=32"`
	MySQLTimeout  time.Duration `json:"MySQLTimeout,env=MYSQL_TIMEOUT,default=2s"`
	RedisAddr     string        `json:"RedisAddr,env=REDIS_ADDR,optional"` // host:port; of a cluster, several, comma-separated
	RedisType     string        `json:"RedisType,env=REDIS_TYPE,default=node,options=node|cluster"`
	RedisUsername string        `json:"RedisUsername,env=REDIS_USERNAME,optional"`
	RedisPassword Secret        `json:"RedisPassword,env=REDIS_PASSWORD,optional"`
	RedisTLS      bool          `json:"RedisTLS,env=REDIS_TLS,optional"`
	RedisTimeout  time.Duration `json:"RedisTimeout,env=REDIS_TIMEOUT,default=100ms"`
	CacheTTL      time.Duration `json:"CacheTTL,env=SHARES_CACHE_TTL,default=5m"`         // of a row in Redis
	LocalUsers    int           `json:"LocalUsers,env=SHARES_LOCAL_USERS,default=100000"` // rows kept in the process; 0: none

	// WeChat.
	WechatAppID      string        `json:"WechatAppID,env=WECHAT_APPID,optional"`
	WechatSecret     Secret        `json:"WechatSecret,env=WECHAT_SECRET,optional"`
	WechatBaseURL    string        `json:"WechatBaseURL,env=WECHAT_BASE_URL,default=https://api.weixin.qq.com"`
	WechatTimeout    time.Duration `json:"WechatTimeout,env=WECHAT_TIMEOUT,default=3s"`
	ContentCheck     string        `json:"ContentCheck,env=WECHAT_CONTENT_CHECK,default=off,options=on|off"`
	ContentCheckAway string        `json:"ContentCheckAway,env=WECHAT_CONTENT_CHECK_AWAY,default=allow,options=allow|refuse"` // when WeChat cannot say
	Phone            string        `json:"Phone,env=SHARES_PHONE,default=any,options=any|verified"`
	NewUserCapacity  int           `json:"NewUserCapacity,env=SHARES_NEW_USER_CAPACITY,default=5"`

	// Avatars and QR codes.
	AvatarsPerUserDay int `json:"AvatarsPerUserDay,env=SHARES_AVATARS_PER_USER_DAY,default=100"` // uploads of one user in 24 hours; 0: any

	QRCodeBucket     string `json:"QRCodeBucket,env=QRCODE_BUCKET,optional"`        // file:// or s3:// URL; empty: a folder in DataDir
	QRCodePublicURL  string `json:"QRCodePublicURL,env=QRCODE_PUBLIC_URL,optional"` // where the bucket is public, such as a CDN; empty: served by api
	QRCodeEnvVersion string `json:"QRCodeEnvVersion,env=QRCODE_ENV_VERSION,default=release,options=release|trial|develop"`
	QRCodeWidth      int    `json:"QRCodeWidth,env=QRCODE_WIDTH,default=430,range=[280:1280]"`
	QRCodeCheckPath  bool   `json:"QRCodeCheckPath,env=QRCODE_CHECK_PATH,default=true"`
	QRCodeHyaline    bool   `json:"QRCodeHyaline,env=QRCODE_HYALINE,optional"`
	QRCodeAutoColor  bool   `json:"QRCodeAutoColor,env=QRCODE_AUTO_COLOR,optional"`
	QRCodeLineColor  string `json:"QRCodeLineColor,env=QRCODE_LINE_COLOR,default=#000000"`
	QRCodePerMinute  int    `json:"QRCodePerMinute,env=QRCODE_PER_MINUTE,default=5000"`   // WeChat's quota, shared by replicas
	QRCodePerUserDay int    `json:"QRCodePerUserDay,env=QRCODE_PER_USER_DAY,default=200"` // new codes one user may cause in 24 hours; 0: any

	// Traces: where an OTLP/gRPC collector listens; empty: none.
	OTLPEndpoint string  `json:"OTLPEndpoint,env=SHARES_OTLP_ENDPOINT,optional"`
	TraceSample  float64 `json:"TraceSample,env=SHARES_TRACE_SAMPLE,default=0.01"`
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

// Load reads path (none when empty) and the environment. A key that is no
// setting is an error, so that a misspelt one is not silently a default; so is
// a value that a setting cannot have, and the error names the setting.
func Load(path string) (Config, error) {
	var c Config
	content := []byte("{}")
	if path != "" {
		var err error
		if content, err = os.ReadFile(path); err != nil {
			return c, fmt.Errorf("configuration: %w", err)
		}
	}
	file, err := parse(content)
	if err != nil {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	if len(file) == 0 {
		content = []byte("{}") // comments alone, which go-zero does not take
	}
	if err := conf.LoadFromYamlBytes(content, &c); err != nil {
		return c, fmt.Errorf("configuration: %w", blame(file, err))
	}
	return c, nil
}

// blame returns the error of the first setting that does not load by itself,
// with its names: go-zero's own errors often have none.
func blame(file map[string]any, err error) error {
	t := reflect.TypeFor[Config]()
	for i, s := range Settings() {
		alone := make(map[string]any)
		for key, value := range file {
			if strings.EqualFold(key, s.Key) {
				alone[key] = value
			}
		}
		content, marshalErr := yaml.Marshal(alone)
		if marshalErr != nil {
			continue
		}
		one := reflect.New(reflect.StructOf([]reflect.StructField{t.Field(i)}))
		if err := conf.LoadFromYamlBytes(content, one.Interface()); err != nil {
			return fmt.Errorf("%s (%s): %w", s.Key, s.Env, err)
		}
	}
	return err
}

// parse returns the settings of a file, all of them known.
func parse(content []byte) (map[string]any, error) {
	var file map[string]any
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, errors.New("not a YAML mapping of settings")
	}
	known := make(map[string]bool)
	for _, s := range Settings() {
		known[strings.ToLower(s.Key)] = true
	}
	var unknown []string
	for key := range file {
		if !known[strings.ToLower(key)] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return nil, fmt.Errorf("unknown settings: %s", strings.Join(unknown, ", "))
	}
	return file, nil
}

// Setting is one setting's names and default, as the documentation lists them.
type Setting struct {
	Key, Env, Default string
}

// Settings lists every setting in the order of Config.
func Settings() []Setting {
	t := reflect.TypeFor[Config]()
	settings := make([]Setting, 0, t.NumField())
	for i := range t.NumField() {
		parts := strings.Split(t.Field(i).Tag.Get("json"), ",")
		s := Setting{Key: parts[0]}
		for _, option := range parts[1:] {
			if name, value, ok := strings.Cut(option, "="); ok {
				switch name {
				case "env":
					s.Env = value
				case "default":
					s.Default = value
				}
			}
		}
		settings = append(settings, s)
	}
	return settings
}

// Unknown returns the names in environ ("NAME=value") that look like settings of this service and are none, such as misspelt ones. What
// Kubernetes and Docker add for a service of that name (SHARES_SERVICE_HOST, SHARES_PORT_80_TCP) is left out.
func Unknown(environ []string) []string {
	known := make(map[string]bool)
	prefixes := make(map[string]bool)
	for _, s := range Settings() {
		known[s.Env] = true
		prefix, _, _ := strings.Cut(s.Env, "_")
		prefixes[prefix] = prefix != "MYSQL" && prefix != "REDIS" // others use those too
	}
	var unknown []string
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		prefix, rest, _ := strings.Cut(name, "_")
		if prefixes[prefix] && !known[name] && !strings.HasPrefix(rest, "SERVICE_") && !strings.HasPrefix(rest, "PORT_") {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
