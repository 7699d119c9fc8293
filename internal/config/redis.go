package config

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// RedisAddrs returns the Redis addresses: one, or several of a cluster or of sentinels.
func (c Config) RedisAddrs() []string { return list(c.RedisAddr) }

// RedisKey returns a key of this installation in Redis. internal/app sets the default of the
// prefix.
func (c Config) RedisKey(name string) string { return c.RedisPrefix + ":" + name }

// Braces in keys would put all keys of an installation on one node of a cluster.
var (
	validPrefix = regexp.MustCompile(`^[A-Za-z0-9:_-]*$`)
	validAppID  = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)
)

func (c Config) validateRedis(p *problems) {
	p.unless(validPrefix.MatchString(c.RedisPrefix),
		"SHARES_REDIS_PREFIX: must consist of letters, digits, colons, _ and -")
	p.unless(validAppID.MatchString(c.WechatAppID),
		"WECHAT_APPID: must consist of letters, digits, _ and -")
	addrs := c.RedisAddrs()
	for _, addr := range addrs {
		p.check("REDIS_ADDR", hostPort(addr))
	}
	p.unless(c.RedisType == "cluster" || c.RedisType == "sentinel" || len(addrs) < 2,
		"REDIS_ADDR: has %d addresses, but REDIS_TYPE=%s allows one: set REDIS_TYPE=cluster for the "+
			"nodes of a cluster, sentinel for sentinels", len(addrs), c.RedisType)
	p.unless((c.RedisType == "sentinel") == (c.RedisMaster != ""),
		"REDIS_MASTER: is required with REDIS_TYPE=sentinel, and refused without it")
	p.unless(c.RedisType != "cluster" || c.RedisDB == 0, "REDIS_DB: a cluster has only database 0")
	p.unless((c.RedisTLSCert == "") == (c.RedisTLSKey == ""),
		"REDIS_TLS_CERT and REDIS_TLS_KEY: must be set together")
	p.unless(c.RedisTLS || c.RedisTLSCA == "" && c.RedisTLSCert == "" && !c.RedisTLSSkipVerify,
		"REDIS_TLS: must be true if another REDIS_TLS setting is set")
	p.unless(!c.Pro() || !c.RedisTLSSkipVerify,
		"REDIS_TLS_SKIP_VERIFY: is refused in pro mode: set REDIS_TLS_CA to the authority's file")
}

// splitRedisURL splits a REDIS_ADDR that is a URL into the Redis settings. As in go-redis, its path
// is the database, addr parameters are further addresses, and master_name is the master.
func (c *Config) splitRedisURL() error {
	if !strings.Contains(c.RedisAddr, "://") {
		return nil
	}
	u, err := url.Parse(c.RedisAddr)
	c.RedisAddr = "" // it may hold a password
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" ||
		strings.Contains(u.Host, ",") {
		return errors.New("REDIS_ADDR: must be host:port, or one URL redis://user:password@host:port/0 " +
			"(rediss:// for TLS) in which / : @ # ? % of the password are escaped, such as %2F for /")
	}
	query, err := url.ParseQuery(u.RawQuery)
	master, more := query.Get("master_name"), query["addr"]
	delete(query, "master_name")
	delete(query, "addr")
	db, dbErr := strconv.ParseUint(cmp.Or(strings.Trim(u.Path, "/"), "0"), 10, 31)
	if err != nil || dbErr != nil || len(query) > 0 {
		return errors.New("REDIS_ADDR: must be a URL with a database number as its path, and no " +
			"parameters but addr (more addresses) and master_name")
	}
	if u.User != nil && (c.RedisUsername != "" || c.RedisPassword != "") ||
		db != 0 && c.RedisDB != 0 || master != "" && c.RedisMaster != "" {
		return errors.New("REDIS_ADDR: must have no user and password, database or master_name " +
			"while REDIS_USERNAME or REDIS_PASSWORD, REDIS_DB or REDIS_MASTER is set")
	}
	port := "6379"
	if c.RedisType == "sentinel" {
		port = "26379"
	}
	first := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	c.RedisAddr = strings.Join(slices.Insert(more, 0, first), ",")
	c.RedisTLS = c.RedisTLS || u.Scheme == "rediss"
	c.RedisDB, c.RedisMaster = max(c.RedisDB, int(db)), cmp.Or(c.RedisMaster, master)
	if u.User != nil {
		password, _ := u.User.Password()
		c.RedisUsername, c.RedisPassword = u.User.Username(), Secret(password)
	}
	return nil
}
