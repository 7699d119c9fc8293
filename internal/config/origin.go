package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Origins returns the origins that CORS allows, as browsers send them.
func (c Config) Origins() ([]string, error) {
	var origins []string
	for _, s := range list(c.CORSOrigins) {
		canonical, err := origin(s, false)
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
	if u, err := url.Parse(c.PublicURL); err == nil && u.Port() == "443" {
		return "", errors.New("must not name port 443: phones refuse it, " +
			"because the mini program's domain list has the host without a port")
	}
	return origin(c.PublicURL, true)
}

// origin returns the origin of a URL in the form that browsers send: lower case, without the
// scheme's default port, international names in punycode. path says whether it may have a path.
func origin(s string, path bool) (string, error) {
	u, err := httpURL(s, path)
	if err != nil {
		return "", err
	}
	if strings.Contains(u.Host, "*") {
		return "", errors.New("must name one host: wildcards such as *. are not supported, list each origin")
	}
	if u.Port() != "" && hostPort("host:"+u.Port()) != nil {
		return "", errors.New("must have a port from 0 to 65535")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	if host, err = httpguts.PunycodeHostPort(host); err != nil {
		return "", errors.New("must have a valid host name")
	}
	return u.Scheme + "://" + host, nil
}
