package edge

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"shares/api/internal/session"
	"shares/internal/config"
	"shares/internal/devhost"
	"shares/internal/requestid"
)

// origins decides which web pages may call and, in dev mode, by which host names.
type origins struct {
	admitted []string // in the form that browsers send: the public URL's and the listed ones
	dev      bool     // local host names and hosts are allowed, and pages of them are admitted
	hosts    []string // without port
}

func newOrigins(c config.Config) (origins, error) {
	listed, err := c.Origins()
	public, publicErr := c.PublicOrigin()
	if err := errors.Join(err, publicErr); err != nil {
		return origins{}, err
	}
	o := origins{admitted: listed, dev: !c.Pro()}
	if public != "" {
		o.admitted = append(o.admitted, public)
	}
	if o.dev {
		o.hosts = append(devhost.Machine(), strings.ToLower(c.Host))
		for _, origin := range o.admitted {
			if u, err := url.Parse(origin); err == nil {
				o.hosts = append(o.hosts, u.Hostname())
			}
		}
	}
	return o, nil
}

// allowsHost reports whether a Host header may be answered. In pro mode a proxy may send any.
func (o origins) allowsHost(host string) bool { return !o.dev || devhost.Allowed(host, o.hosts) }

func (o origins) admits(origin string) bool {
	for _, admitted := range o.admitted {
		if strings.EqualFold(origin, admitted) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && o.dev && devhost.Allowed(u.Host, o.hosts)
}

// refuses reports whether a request must be refused because a page of another
// origin may have sent it with its visitor's cookie, or to log its visitor in.
//
// Browsers send Origin with every unsafe method, so a request without it comes
// from no page. Sec-Fetch-Site decides nothing: WeChat for Windows and Mac and
// DevTools send "cross-site" from a mini program. A page cannot make a browser
// send an Authorization header unless CORS admits it.
func (o origins) refuses(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false // they never change state
	}
	origin := r.Header.Get("Origin")
	return origin != "" && session.FromHeader(r) == "" && !o.admits(origin)
}

// cors marks answers for admitted origins. It answers preflights, and reports whether r was one.
// Cookies are not admitted across origins: an H5 page elsewhere sends its session as a header.
func (o origins) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	h := w.Header()
	h.Add("Vary", "Origin")
	if o.admits(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", requestid.Header+", Retry-After, Date")
		if preflight {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
			h["Access-Control-Allow-Headers"] = r.Header["Access-Control-Request-Headers"] // an endpoint may read any
			h.Set("Access-Control-Max-Age", "600")
		}
	}
	if preflight {
		w.WriteHeader(http.StatusNoContent)
	}
	return preflight
}
