package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// Origins returns the origins that CORS allows, as browsers send them.
func (c Config) Origins() ([]string, error) {
	var origins []string
	for _, s := range list(c.CORSOrigins) {
		if err := httpURL(s, false); err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		canonical, err := origin(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		origins = append(origins, canonical)
	}
	return origins, nil
}

// PublicOrigin returns the origin of PublicURL as browsers send it, or "".
func (c Config) PublicOrigin() (string, error) {
	if c.PublicURL == "" {
		return "", nil
	}
	if err := httpURL(c.PublicURL, true); err != nil {
		return "", err
	}
	if u, err := url.Parse(c.PublicURL); err == nil && u.Port() == "443" {
		return "", errors.New("must not name port 443: phones refuse it, " +
			"because the mini program's domain list has the host without a port")
	}
	return origin(c.PublicURL)
}

// origin returns the origin of a URL in the form that browsers send: lower case, without the
// scheme's default port, international names in punycode.
func origin(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.New("must be a URL")
	}
	host := u.Hostname()
	if strings.Contains(host, "*") {
		return "", errors.New("must name one host: wildcards such as *. are not supported, list each origin")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
		if addr.Is6() {
			host = "[" + host + "]"
		}
	} else if strings.IndexFunc(host, func(r rune) bool { return r > 127 }) >= 0 {
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return "", errors.New("must have a valid host name")
		}
	}
	if err := hostPort("host:" + u.Port()); u.Port() != "" && err != nil {
		return "", errors.New("must have a port from 0 to 65535")
	}
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + strings.ToLower(host), nil
}
