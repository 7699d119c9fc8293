package edge

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/rs/cors"

	"shares/api/internal/session"
	"shares/internal/devhost"
	"shares/internal/requestid"
)

// Origins decides which web pages may call.
type Origins struct {
	Admitted []string // in the form that browsers send: the public URL's and the listed ones
	Own      bool     // admit a page that was loaded from the request's Host
	Local    bool     // admit pages of localhost and private networks, as in dev mode
}

func (o Origins) admits(origin string) bool {
	for _, admitted := range o.Admitted {
		if strings.EqualFold(origin, admitted) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && o.Local && devhost.Local(strings.ToLower(u.Hostname()))
}

// refuses reports whether a request must be refused because a page of another
// origin may have sent it with its visitor's cookie, or to log its visitor in.
//
// Browsers send Origin with every unsafe method, so a request without it comes
// from no page. Sec-Fetch-Site decides nothing: WeChat for Windows and Mac and
// DevTools send "cross-site" from a mini program. A page cannot make a browser
// send an Authorization header unless CORS admits it.
func (o Origins) refuses(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false // they never change state
	}
	origin := r.Header.Get("Origin")
	return origin != "" && session.FromHeader(r) == "" && !o.admits(origin) &&
		!(o.Own && isHost(origin, r.Host))
}

var defaultPorts = map[string]string{"http": ":80", "https": ":443"}

// isHost reports whether a page of origin was loaded from host. The scheme is
// not compared, because a proxy may have ended TLS.
func isHost(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || defaultPorts[u.Scheme] == "" {
		return false
	}
	return strings.EqualFold(u.Host, strings.TrimSuffix(host, defaultPorts[u.Scheme]))
}

// cors answers preflights and marks answers for admitted origins. Cookies are
// not admitted across origins: an H5 page elsewhere sends its session as a header.
func (o Origins) cors(next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowOriginFunc: o.admits,
		AllowedMethods:  []string{http.MethodPost, http.MethodGet},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Accept-Language",
			"X-Requested-With", requestid.Header},
		ExposedHeaders: []string{requestid.Header, "Retry-After", "Date"},
		MaxAge:         600,
	}).Handler(next)
}
