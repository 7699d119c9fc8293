package edge

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/rs/cors"

	"shares/internal/reason"
	"shares/internal/requestid"
)

// Origins is who may call from a browser page of another site.
type Origins struct {
	listed     map[string]bool
	local      bool // localhost and private networks too, as in dev mode
	protection *http.CrossOriginProtection
}

// NewOrigins admits the listed origins, and with local every page that was
// served from localhost or a private network.
func NewOrigins(listed []string, local bool) *Origins {
	o := &Origins{listed: make(map[string]bool), local: local, protection: http.NewCrossOriginProtection()}
	for _, origin := range listed {
		o.listed[strings.ToLower(origin)] = true
	}
	return o
}

// Admits reports whether pages of origin may call.
func (o *Origins) Admits(origin string) bool {
	if o.listed[strings.ToLower(origin)] {
		return true
	}
	if !o.local {
		return false
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast())
}

// Check implements middleware.Origins: it refuses what a browser sends from
// the page of a site that is not admitted. Clients that are no browsers send
// neither Origin nor Sec-Fetch-Site and pass.
func (o *Origins) Check(r *http.Request) error {
	if o.protection.Check(r) == nil || o.Admits(r.Header.Get("Origin")) {
		return nil
	}
	return reason.Error(reason.CrossOrigin)
}

// cors answers preflights and marks answers for admitted origins. Cookies are
// not admitted across sites: an H5 page elsewhere sends its session as a header.
func (o *Origins) cors(next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowOriginFunc: o.Admits,
		AllowedMethods:  []string{http.MethodPost, http.MethodGet},
		AllowedHeaders:  []string{"Authorization", "Content-Type", "Accept-Language", requestid.Header},
		ExposedHeaders:  []string{requestid.Header, "Retry-After", "Date"},
		MaxAge:          600,
	}).Handler(next)
}
