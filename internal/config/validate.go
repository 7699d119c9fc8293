package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Role is what a process runs. It decides which settings are required.
type Role string

// The roles of the `shares` command.
const (
	RoleServe   Role = "serve"   // both halves in one process
	RoleAPI     Role = "api"     // the HTTP edge alone
	RoleRPC     Role = "rpc"     // the user service alone
	RoleMigrate Role = "migrate" // the schema
	RoleUser    Role = "user"    // the sub-commands of `shares user`
)

// MinSecret is the minimum length of a session secret in bytes.
const MinSecret = 32

// placeholder is in each secret of deploy/examples/secrets.yaml.
const placeholder = "replace-me"

const defaultWechatBaseURL = "https://api.weixin.qq.com" // as in Config's tag

// Pro reports whether embedded parts and generated secrets are refused.
func (c Config) Pro() bool { return c.Mode == "pro" }

type problems []error

func (p *problems) unless(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p *problems) check(env string, err error) { p.unless(err == nil, "%s: %w", env, err) }

// Validate checks all settings, and that those which the role needs are set. Its error lists
// everything that is missing or wrong, by variable, and holds no secret.
func (c Config) Validate(role Role) error {
	var p problems
	// Only serve in dev mode embeds parts.
	alone := c.Pro() || role == RoleAPI || role == RoleRPC
	for f, value := range reflect.ValueOf(c).Fields() {
		env := f.Tag.Get("env")
		required := alone && slices.Contains(strings.Fields(f.Tag.Get("required")), string(role))
		p.unless(!required || !value.IsZero(), "%s is required", env)
		p.unless(value.Kind() != reflect.String || !strings.Contains(value.String(), placeholder),
			"%s: is the placeholder of the example: set a value of your own", env)
	}
	edge, service := role == RoleServe || role == RoleAPI, role == RoleServe || role == RoleRPC
	public := edge || service && c.InternalListen != "" // its answers contain picture URLs
	p.unless(!c.Pro() || !public || c.PublicURL != "", "SHARES_PUBLIC_URL is required")
	c.validateValues(&p)
	if service {
		p.unless((c.WechatAppID == "") == (c.WechatSecret == ""),
			"WECHAT_APPID and WECHAT_SECRET: must be set together")
		p.unless(c.WechatAppID != "" || c.WechatBaseURL == defaultWechatBaseURL,
			"WECHAT_BASE_URL: needs WECHAT_APPID and WECHAT_SECRET; without them the simulator is used")
		p.unless(c.WechatTimeout < c.RPCTimeout && c.MySQLTimeout < c.RPCTimeout,
			"WECHAT_TIMEOUT and MYSQL_TIMEOUT: must be less than SHARES_RPC_TIMEOUT")
	}
	p.unless(role != RoleAPI || c.RPCTimeout < c.Timeout,
		"SHARES_RPC_TIMEOUT: must be less than SHARES_TIMEOUT")
	setting, request := "SHARES_TIMEOUT", c.Timeout+minUploadTime
	if role == RoleRPC {
		setting, request = "SHARES_RPC_TIMEOUT", c.RPCTimeout
	}
	p.unless(!edge && !service || c.Grace() >= request, "SHARES_SHUTDOWN: must be at least %s with this "+
		"SHARES_DRAIN and %s, so that running requests can finish",
		c.Drain+request+ClosingTime, setting)
	return errors.Join(p...)
}

// validateValues checks the values that are set, whether the role uses them or not.
func (c Config) validateValues(p *problems) {
	secrets := c.SessionSecrets()
	p.unless(c.SessionSecret == "" || secrets != nil, "SESSION_SECRET: must not be empty")
	for i, s := range secrets {
		p.unless(len(s) >= MinSecret, "SESSION_SECRET: secret %d has %d bytes, at least %d are "+
			"needed (openssl rand -base64 36 makes one)", i+1, len(s), MinSecret)
	}
	p.unless(c.SessionMaxAge >= c.SessionLifetime,
		"SESSION_MAX_AGE: must not be less than SESSION_LIFETIME")
	_, err := c.Proxies()
	p.check("SHARES_TRUSTED_PROXIES", err)
	_, err = c.Origins()
	p.check("SHARES_CORS_ORIGINS", err)
	_, err = c.PublicOrigin()
	p.check("SHARES_PUBLIC_URL", err)
	_, err = c.LineColor()
	p.check("QRCODE_LINE_COLOR", err)
	if c.QRCodePublicURL != "" {
		_, err = httpURL(c.QRCodePublicURL, true)
		p.check("QRCODE_PUBLIC_URL", err)
	}
	_, err = httpURL(c.WechatBaseURL, true)
	p.check("WECHAT_BASE_URL", err)
	if c.PushForwardURL != "" {
		_, err = httpURL(c.PushForwardURL, true)
		p.check("WECHAT_PUSH_FORWARD_URL", err)
	}
	p.unless(c.PushAESKey == "" && c.PushForwardURL == "" || c.PushToken != "",
		"WECHAT_PUSH_AES_KEY and WECHAT_PUSH_FORWARD_URL: need WECHAT_PUSH_TOKEN")
	p.unless(c.PushAESKey != "" || c.PushToken == "" || !c.Pro(),
		"WECHAT_PUSH_AES_KEY: is required with WECHAT_PUSH_TOKEN, because plain mode is refused")
	p.unless(c.PushAESKey == "" || c.PushKey() != nil, "WECHAT_PUSH_AES_KEY: must be the EncodingAESKey, "+
		"43 letters and digits")
	p.check("SHARES_HOST", host(c.Host))
	for env, address := range map[string]string{
		"SHARES_RPC_LISTEN": c.RPCListen, "SHARES_ADMIN_LISTEN": c.AdminListen, "SHARES_INTERNAL_LISTEN": c.InternalListen,
	} {
		p.unless(address == "" || hostPort(address) == nil, "%s: must be host:port with a port from 0 to 65535", env)
	}
	_, err = c.Callers()
	p.check("SHARES_INTERNAL_CALLERS", err)
	_, err = c.WechatPrefixes()
	p.check("SHARES_WECHAT_PATHS", err)
	p.unless((c.MySQLTLSCert == "") == (c.MySQLTLSKey == ""),
		"MYSQL_TLS_CERT and MYSQL_TLS_KEY: must be set together")
	c.validateRedis(p)
}

// SessionSecrets returns the session secrets, the signing one first.
func (c Config) SessionSecrets() []string { return list(string(c.SessionSecret)) }

// PushKey returns the AES key of PushAESKey, or nil if that is no EncodingAESKey.
func (c Config) PushKey() []byte {
	key, err := base64.StdEncoding.DecodeString(string(c.PushAESKey) + "=")
	if err != nil || len(key) != 32 {
		return nil
	}
	return key
}

// Proxies returns the networks whose X-Forwarded-For is trusted.
func (c Config) Proxies() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, s := range list(c.TrustedProxies) {
		network, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR", s)
		}
		// Addresses are compared in their IPv4 form.
		if network.Addr().Is4In6() {
			if network.Bits() < 96 {
				return nil, fmt.Errorf("%q must be in its IPv4 form, such as 10.0.0.0/8", s)
			}
			network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// LineColor returns the colour of a QR code's lines: red, green, blue.
func (c Config) LineColor() ([3]uint8, error) {
	hex := strings.TrimPrefix(c.QRCodeLineColor, "#")
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		return [3]uint8{}, errors.New("must be six hexadecimal digits, such as #1a73e8")
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

// httpURL parses a URL that has no user, query or fragment. path says whether it may have a path.
func httpURL(s string, path bool) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with http:// or https:// and a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("must have no user, query or fragment")
	case strings.HasSuffix(s, "/"):
		return nil, errors.New("must not end with a slash")
	case !path && u.Path != "":
		return nil, errors.New("must not have a path")
	}
	return u, nil
}

func hostPort(s string) error {
	name, port, err := net.SplitHostPort(s)
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
		return errors.New("must be host:port with a port from 0 to 65535")
	}
	return host(name)
}

func host(s string) error {
	if _, err := netip.ParseAddr(s); err != nil && strings.ContainsAny(s, "[]:/@ ") {
		return errors.New("must be a host name or IP address alone, such as 127.0.0.1 or ::1, " +
			"without brackets and port")
	}
	return nil
}

const (
	// ClosingTime is the part of SHARES_SHUTDOWN reserved for closing connections and the log.
	ClosingTime = 2 * time.Second

	// maxUploadTime allows 2 MiB at 0.5 Mbit/s, a bad mobile network.
	maxUploadTime = 35 * time.Second
	minUploadTime = 5 * time.Second
)

// Grace returns the time that running requests have after the drain.
func (c Config) Grace() time.Duration { return c.Shutdown - c.Drain - ClosingTime }

// UploadTime returns how long the body of an upload may take. An accepted upload can finish within
// SHARES_SHUTDOWN.
func (c Config) UploadTime() time.Duration { return min(maxUploadTime, c.Grace()-c.Timeout) }
