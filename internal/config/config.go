// Package config holds every setting of every `shares` process in one flat struct, filled from a
// YAML file and the environment, which wins. internal/app validates it and hands it to api and rpc,
// which build go-zero's own configurations from it.
package config

import (
	"fmt"
	"io"
	"time"
)

// Config holds the settings of one process. A setting's key in the file is the field's name, in any
// case. Its tag holds the variable that overrides the file, the default, the allowed values, and the
// roles that require it while nothing is embedded. Without a default, the zero value means "not
// configured".
type Config struct {
	Mode string `env:"SHARES_MODE" default:"dev" options:"dev|pro"` // pro refuses embedded parts

	// The HTTP edge. An empty Host means all addresses, or loopback while the simulator is
	// embedded. Port 0 is any free port. PublicURL is where phones reach the service. AdminListen
	// is the host:port of health probes and metrics.
	Host        string `env:"SHARES_HOST"`
	Port        int    `env:"SHARES_PORT" default:"82" range:"0:65535"`
	PublicURL   string `env:"SHARES_PUBLIC_URL"`
	AdminListen string `env:"SHARES_ADMIN_LISTEN"`

	// TrustedProxies lists the addresses and CIDRs whose X-Forwarded-For is trusted, CORSOrigins
	// the allowed origins; both are comma-separated. Dev mode also allows the origins of localhost
	// and private networks. Envelope wraps answers as the legacy service did. Timeout is for one
	// request. MaxInFlight limits concurrent requests; more are refused with 503.
	TrustedProxies string        `env:"SHARES_TRUSTED_PROXIES"`
	CORSOrigins    string        `env:"SHARES_CORS_ORIGINS"`
	Envelope       bool          `env:"SHARES_ENVELOPE"`
	Timeout        time.Duration `env:"SHARES_TIMEOUT" default:"5s" range:"1ms:"`
	MaxInFlight    int           `env:"SHARES_MAX_IN_FLIGHT" default:"1024" range:"1:"`

	// The internal port, host:port, for other services. InternalCallers are name:token or
	// name+phone:token, WechatPaths the prefixes of WeChat's paths that they may use; both are
	// comma-separated.
	InternalListen  string `env:"SHARES_INTERNAL_LISTEN"`
	InternalCallers Secret `env:"SHARES_INTERNAL_CALLERS"`
	WechatPaths     string `env:"SHARES_WECHAT_PATHS"`

	AccessLog string `env:"SHARES_ACCESS_LOG" default:"on" options:"on|off"`
	LogLevel  string `env:"SHARES_LOG_LEVEL" default:"info" options:"debug|info|warn|error"`

	// Graceful shutdown. The process is unready for Drain before its listener closes. Shutdown,
	// counted from the signal, bounds the whole shutdown.
	Drain    time.Duration `env:"SHARES_DRAIN" default:"0s" range:"0s:"`
	Shutdown time.Duration `env:"SHARES_SHUTDOWN" default:"45s"`

	// Sessions. The secrets are comma-separated: the first signs, all verify. SessionLifetime is
	// the lifetime of one sessionId, SessionMaxAge the time from login to the end of the last
	// renewal.
	SessionSecret   Secret        `env:"SESSION_SECRET" required:"serve api"`
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
	// CacheTTL is the lifetime of a row in Redis. LocalUsers is the number of rows cached in the
	// process. Any of the PEM files for TLS with MySQL turns TLS on.
	DataDir      string        `env:"SHARES_DATA_DIR" default:"./data"`
	MySQLDSN     Secret        `env:"MYSQL_DSN" required:"serve rpc migrate user"`
	MySQLMaxOpen int           `env:"MYSQL_MAX_OPEN" default:"32" range:"1:"`
	MySQLTLSCA   string        `env:"MYSQL_TLS_CA"`
	MySQLTLSCert string        `env:"MYSQL_TLS_CERT"`
	MySQLTLSKey  string        `env:"MYSQL_TLS_KEY"`
	MySQLTimeout time.Duration `env:"MYSQL_TIMEOUT" default:"2s" range:"1ms:"`
	CacheTTL     time.Duration `env:"SHARES_CACHE_TTL" default:"5m" range:"1ms:"`
	LocalUsers   int           `env:"SHARES_LOCAL_USERS" default:"100000" range:"0:"`

	// Redis. RedisAddr is a URL or host:port; nodes of a cluster and sentinels may be several
	// host:port, comma-separated. RedisMaster is the sentinels' name of the master. All keys and
	// the channel begin with RedisPrefix; empty means "shares:" and the AppID. The TLS files are
	// PEM.
	RedisAddr             string        `env:"REDIS_ADDR" required:"serve api rpc user"`
	RedisType             string        `env:"REDIS_TYPE" default:"node" options:"node|cluster|sentinel|proxy"`
	RedisDB               int           `env:"REDIS_DB" range:"0:"`
	RedisPrefix           string        `env:"SHARES_REDIS_PREFIX"`
	RedisMaster           string        `env:"REDIS_MASTER"`
	RedisUsername         string        `env:"REDIS_USERNAME"`
	RedisPassword         Secret        `env:"REDIS_PASSWORD"`
	RedisSentinelUsername string        `env:"REDIS_SENTINEL_USERNAME"`
	RedisSentinelPassword Secret        `env:"REDIS_SENTINEL_PASSWORD"`
	RedisTimeout          time.Duration `env:"REDIS_TIMEOUT" default:"100ms" range:"1ms:"`
	RedisTLS              bool          `env:"REDIS_TLS"`
	RedisTLSCA            string        `env:"REDIS_TLS_CA"`
	RedisTLSCert          string        `env:"REDIS_TLS_CERT"`
	RedisTLSKey           string        `env:"REDIS_TLS_KEY"`
	RedisTLSSkipVerify    bool          `env:"REDIS_TLS_SKIP_VERIFY"` // refused in pro mode

	// WeChat.
	WechatAppID   string        `env:"WECHAT_APPID" required:"serve api rpc migrate user"`
	WechatSecret  Secret        `env:"WECHAT_SECRET" required:"serve rpc"`
	WechatBaseURL string        `env:"WECHAT_BASE_URL" default:"https://api.weixin.qq.com"`
	WechatTimeout time.Duration `env:"WECHAT_TIMEOUT" default:"3s" range:"1ms:"`

	// WeChat's message push. PushToken turns the push address on. PushAESKey is the EncodingAESKey.
	// PushModified decides about nickname and avatar after user_info_modified. PushForwardURL gets
	// all messages that are not about a user; empty means none.
	PushToken      Secret `env:"WECHAT_PUSH_TOKEN"`
	PushAESKey     Secret `env:"WECHAT_PUSH_AES_KEY"`
	PushModified   string `env:"WECHAT_PUSH_USER_INFO_MODIFIED" default:"clear" options:"clear|keep"`
	PushForwardURL string `env:"WECHAT_PUSH_FORWARD_URL"`

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
	QRCodeBucket      string `env:"QRCODE_BUCKET" required:"serve api rpc user"`
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

// Format hides the value from every verb; convert to string to use it.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the value from encoders, including slog's.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
