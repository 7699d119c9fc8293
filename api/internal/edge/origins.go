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

// origins decides which web origins may call the service and, in dev mode, which Host headers are
// answered.
type origins struct {
	admitted []string // the public URL's origin and the listed ones, as browsers send them
	dev      bool     // check Host; allow local names and hosts, and admit their origins
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

// allowsHost reports whether a Host header is answered. In pro mode any is, because proxies change
// it.
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

// refuses reports whether a request, of this method, may be a cross-site request forgery: a page of another origin
// may have sent it with its visitor's cookie, or to log the visitor in.
//
// Browsers send Origin with every unsafe method, so a request without Origin does not come from a
// page. Sec-Fetch-Site is ignored: WeChat for Windows and Mac and DevTools send "cross-site" from a
// mini program. A page can send an Authorization header only if CORS admits its origin.
func (o origins) refuses(r *http.Request, method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false // safe methods do not change state
	}
	origin := r.Header.Get("Origin")
	return origin != "" && session.FromHeader(r) == "" && !o.admits(origin)
}

// cors sets the CORS headers for admitted origins. It answers preflights, and reports whether r was
// one. Cookies are not allowed across origins: an H5 page on another origin sends its session in
// the Authorization header.
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
			h["Access-Control-Allow-Headers"] = r.Header["Access-Control-Request-Headers"] // any
			h.Set("Access-Control-Max-Age", "600")
		}
	}
	if preflight {
		w.WriteHeader(http.StatusNoContent)
	}
	return preflight
}
