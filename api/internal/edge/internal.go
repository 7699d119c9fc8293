package edge

import (
	"net/http"
	"slices"
	"strings"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/reason"
)

// Services answers a request of another service, or returns the error to answer.
type Services func(http.ResponseWriter, *http.Request) error

// Internal returns the handler of the internal port: auth at /auth and below it, services at
// /wechat/ and /users. It never wraps answers as the legacy service did, because other services
// read the status.
func (e *Edge) Internal(auth http.Handler, services Services) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		call := &session.Call{Route: "internal " + name}
		e.handle(w, r, call, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case name == "auth" && e.forged(r):
				answer.Error(w, r, reason.Error(reason.CrossOrigin))
			case name == "auth":
				e.work(w, r, auth, e.bounds.work, 1, e.opts.Timeout)
			case services != nil && (name == "wechat" || name == "users"):
				if err := services(w, r); err != nil {
					answer.Error(w, r, err)
				}
			default:
				call.Route = "internal " + other
				NotFound(w, r)
			}
		})
	})
}

// forged reports whether the request that a proxy asks about may be a cross-site request forgery.
// nginx and Traefik ask with GET and send the original method in a header, Envoy asks with the
// original method.
func (e *Edge) forged(r *http.Request) bool {
	methods := slices.Concat([]string{r.Method}, r.Header["X-Forwarded-Method"], r.Header["X-Original-Method"])
	return session.FromCookie(r) != "" && slices.ContainsFunc(methods, func(method string) bool {
		return method != "" && e.origins.refuses(r, strings.ToUpper(method))
	})
}
