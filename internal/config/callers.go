package config

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
)

// Caller is another service that may use WeChat's API and read users on the internal port.
type Caller struct {
	Name  string // label of metrics
	Phone bool   // may read phone numbers
}

var callerName = regexp.MustCompile(`^[0-9A-Za-z_-]{1,32}$`)

// WechatPath matches every path of WeChat's API. It allows no dots, escapes, empty segments or
// hosts, because servers interpret those differently.
var WechatPath = regexp.MustCompile(`^(/[0-9A-Za-z_-]+)+$`)

// Callers returns the callers by the hash of their token. A name may occur twice, to rotate its
// token. Errors hold no token.
func (c Config) Callers() (map[[sha256.Size]byte]Caller, error) {
	callers := make(map[[sha256.Size]byte]Caller)
	for i, item := range list(string(c.InternalCallers)) {
		name, token, _ := strings.Cut(item, ":")
		var caller Caller
		caller.Name, caller.Phone = strings.CutSuffix(name, "+phone")
		hash := sha256.Sum256([]byte(token))
		_, twice := callers[hash]
		switch {
		case !callerName.MatchString(caller.Name):
			return nil, fmt.Errorf("entry %d must be name:token or name+phone:token, with 1 to 32 letters, "+
				"digits, - and _ in the name", i+1)
		case len(token) < MinSecret:
			return nil, fmt.Errorf("the token of entry %d has %d bytes, at least %d are needed "+
				"(openssl rand -hex 32 makes one)", i+1, len(token), MinSecret)
		case twice:
			return nil, fmt.Errorf("the token of entry %d occurs twice", i+1)
		}
		callers[hash] = caller
	}
	return callers, nil
}

// WechatPrefixes returns the prefixes of WeChat's paths that callers may use, without a slash at
// the end.
func (c Config) WechatPrefixes() ([]string, error) {
	var prefixes []string
	for _, s := range list(c.WechatPaths) {
		prefix := strings.TrimSuffix(s, "/")
		if !WechatPath.MatchString(prefix) {
			return nil, fmt.Errorf("%q must be a path such as /cgi-bin/message/, of letters, digits, - and _", s)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}
