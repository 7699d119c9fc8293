package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Caller is another service that may use WeChat's API and read users on the internal port.
type Caller struct {
	Name  string // label of metrics
	Phone bool   // may read phone numbers
}

var callerEntry = regexp.MustCompile(`^([0-9A-Za-z_-]{1,32})(\+phone)?:(.{32,})$`)

// WechatPath matches every path of WeChat's API. It allows no dots, escapes, empty segments or
// hosts, because servers interpret those differently.
var WechatPath = regexp.MustCompile(`^(/[0-9A-Za-z_-]+)+$`)

// Callers returns the callers by the hash of their token. A name may occur twice, to rotate its
// token. Errors hold no token.
func (c Config) Callers() (map[[sha256.Size]byte]Caller, error) {
	callers := make(map[[sha256.Size]byte]Caller)
	entries := list(string(c.InternalCallers))
	for i, item := range entries {
		parts := callerEntry.FindStringSubmatch(item)
		if parts == nil {
			return nil, fmt.Errorf("entry %d must be name:token or name+phone:token, with at most 32 letters, "+
				"digits, - and _ in the name, and 32 characters or more in the token "+
				"(openssl rand -hex 32 makes one)", i+1)
		}
		callers[sha256.Sum256([]byte(parts[3]))] = Caller{Name: parts[1], Phone: parts[2] != ""}
	}
	if len(callers) != len(entries) {
		return nil, errors.New("a token occurs twice")
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
