package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Role says which parts a process runs, and so which settings it needs.
type Role int

// The roles of the `shares` command.
const (
	RoleServe   Role = iota // both halves in one process
	RoleAPI                 // the HTTP edge alone
	RoleRPC                 // the user service alone
	RoleMigrate             // the schema
	RoleUser                // the operator's view on one user
)

// defaultWechatBaseURL is WeChat itself, as the tag of Config.WechatBaseURL says.
const defaultWechatBaseURL = "https://api.weixin.qq.com"

// MinSecret is the shortest session secret taken, in bytes.
const MinSecret = 32

// Pro reports whether embedded parts and made-up secrets are refused.
func (c Config) Pro() bool { return c.Mode == "pro" }

// Validate checks what the role needs and names the variable of everything
// that is missing or wrong, all at once. It never prints a secret's value.
func (c Config) Validate(role Role) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	required := func(env, value string) {
		if value == "" {
			bad("%s is required", env)
		}
	}

	api := role == RoleServe || role == RoleAPI
	rpc := role == RoleServe || role == RoleRPC

	// Only serve in dev mode embeds; everything else needs real parts.
	if c.Pro() || role != RoleServe {
		if rpc || role == RoleUser && c.Pro() {
			required("REDIS_ADDR", c.RedisAddr)
		}
		if rpc {
			required("WECHAT_APPID", c.WechatAppID)
			required("WECHAT_SECRET", string(c.WechatSecret))
		}
		if rpc && (c.Pro() || role == RoleRPC) || role == RoleUser && c.Pro() || role == RoleMigrate && c.Pro() {
			required("MYSQL_DSN", string(c.MySQLDSN))
		}
		if api {
			required("SESSION_SECRET", string(c.SessionSecret))
		}
		if api && !rpc {
			required("REDIS_ADDR", c.RedisAddr)
		}
		if api || rpc {
			required("QRCODE_BUCKET", c.QRCodeBucket)
		}
	}
	if c.Pro() && api {
		required("SHARES_PUBLIC_URL", c.PublicURL)
	}
	if (c.WechatAppID == "") != (c.WechatSecret == "") && rpc {
		bad("WECHAT_APPID and WECHAT_SECRET go together")
	}
	if role == RoleServe && c.WechatAppID == "" && c.WechatBaseURL != defaultWechatBaseURL {
		bad("WECHAT_BASE_URL is set, but WECHAT_APPID and WECHAT_SECRET are not: the embedded simulator would be used")
	}

	if api {
		for i, s := range c.SessionSecrets() {
			if len(s) < MinSecret {
				bad("SESSION_SECRET: secret %d of the list has %d characters, at least %d are needed", i+1, len(s), MinSecret)
			}
		}
		if c.SessionSecret != "" && len(c.SessionSecrets()) == 0 {
			bad("SESSION_SECRET is empty")
		}
		if c.SessionLifetime < time.Minute {
			bad("SESSION_LIFETIME: at least a minute")
		}
		if c.SessionMaxAge < c.SessionLifetime {
			bad("SESSION_MAX_AGE is less than SESSION_LIFETIME")
		}
		if _, err := c.Proxies(); err != nil {
			bad("SHARES_TRUSTED_PROXIES: %w", err)
		}
		for _, o := range c.Origins() {
			if err := httpURL(o, false); err != nil {
				bad("SHARES_CORS_ORIGINS: %q: %w", o, err)
			}
		}
		if c.PublicURL != "" {
			if err := httpURL(c.PublicURL, true); err != nil {
				bad("SHARES_PUBLIC_URL: %w", err)
			}
		}
		if c.QRCodePublicURL != "" {
			if err := httpURL(c.QRCodePublicURL, true); err != nil {
				bad("QRCODE_PUBLIC_URL: %w", err)
			}
		}
		if c.MaxInFlight < 1 || c.LoginPerMinute < 1 || c.UserPerSecond < 1 || c.UserBurst < 1 {
			bad("SHARES_MAX_IN_FLIGHT, SHARES_LOGIN_PER_MINUTE, SHARES_USER_PER_SECOND and SHARES_USER_BURST: at least 1 (SHARES_RATE_LIMIT=off turns limits off)")
		}
		if c.Timeout <= 0 {
			bad("SHARES_TIMEOUT: more than 0")
		}
	}
	if role == RoleAPI && c.RPCTimeout >= c.Timeout {
		bad("SHARES_RPC_TIMEOUT must be less than SHARES_TIMEOUT")
	}
	if rpc {
		if c.WechatTimeout <= 0 || c.MySQLTimeout <= 0 || c.RedisTimeout <= 0 {
			bad("WECHAT_TIMEOUT, MYSQL_TIMEOUT and REDIS_TIMEOUT: more than 0")
		}
		if c.WechatTimeout >= c.RPCTimeout || c.MySQLTimeout >= c.RPCTimeout {
			bad("WECHAT_TIMEOUT and MYSQL_TIMEOUT must be less than SHARES_RPC_TIMEOUT")
		}
		if err := httpURL(c.WechatBaseURL, true); err != nil {
			bad("WECHAT_BASE_URL: %w", err)
		}
		if _, err := c.LineColor(); err != nil {
			bad("QRCODE_LINE_COLOR: %w", err)
		}
		if c.MySQLMaxOpen < 1 {
			bad("MYSQL_MAX_OPEN: at least 1")
		}
		if c.NewUserCapacity < 0 {
			bad("SHARES_NEW_USER_CAPACITY: not negative")
		}
		if c.QRCodePerMinute < 0 || c.QRCodePerUserDay < 0 || c.LocalUsers < 0 {
			bad("QRCODE_PER_MINUTE, QRCODE_PER_USER_DAY and SHARES_LOCAL_USERS: not negative")
		}
		if c.AvatarsPerUserDay < 0 {
			bad("SHARES_AVATARS_PER_USER_DAY: not negative")
		}
	}
	if role == RoleRPC {
		if _, _, err := net.SplitHostPort(c.RPCListen); err != nil {
			bad("SHARES_RPC_LISTEN: host:port is needed")
		}
	}
	if c.Drain < 0 || c.Shutdown <= c.Drain {
		bad("SHARES_SHUTDOWN must be more than SHARES_DRAIN: what runs needs time to finish")
	}
	if c.AdminListen != "" {
		if _, _, err := net.SplitHostPort(c.AdminListen); err != nil {
			bad("SHARES_ADMIN_LISTEN: host:port is needed")
		}
	}
	return errors.Join(errs...)
}

// SessionSecrets is the list of session secrets, the signing one first.
func (c Config) SessionSecrets() []string { return list(string(c.SessionSecret)) }

// Origins is the list of origins that CORS admits.
func (c Config) Origins() []string { return list(c.CORSOrigins) }

// RedisAddrs is the list of Redis addresses; more than one only of a cluster.
func (c Config) RedisAddrs() []string { return list(c.RedisAddr) }

// Proxies is the networks whose X-Forwarded-For counts.
func (c Config) Proxies() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, s := range list(c.TrustedProxies) {
		if addr, err := netip.ParseAddr(s); err == nil {
			networks = append(networks, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR", s)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// LineColor is the colour of a QR code's lines: red, green, blue.
func (c Config) LineColor() ([3]uint8, error) {
	hex := strings.TrimPrefix(c.QRCodeLineColor, "#")
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		return [3]uint8{}, errors.New("six hexadecimal digits such as #1a73e8 are needed")
	}
	return [3]uint8{uint8(n >> 16), uint8(n >> 8), uint8(n)}, nil
}

func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func httpURL(s string, path bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("an http or https URL is needed")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("no user, query or fragment may be in it")
	case strings.HasSuffix(s, "/") || !path && u.Path != "":
		return errors.New("no trailing slash, please")
	}
	return nil
}
