// Package auth serves /auth on the internal port, which tells other services which user is calling.
// It works with nginx's auth_request, Traefik's ForwardAuth and Envoy's ext_authz.
package auth

import (
	"net/http"
	"strconv"

	"shares/api/internal/answer"
	"shares/api/internal/middleware"
	"shares/api/internal/session"
	"shares/internal/reason"
	"shares/rpc/pb"
)

// Handler returns the handler of requests with the credentials of an original request, for every
// method. It answers 200 with the user in headers, 401 without a valid session, or 503 if the
// session cannot be checked.
func Handler(tokens *session.Tokens, users pb.WeixinClient) http.Handler {
	sessions := middleware.NewSessionMiddleware(&middleware.Credentials{Tokens: tokens})
	return sessions.Handle(func(w http.ResponseWriter, r *http.Request) {
		user, err := users.GetUser(r.Context(), &pb.GetUserReq{Caller: session.Caller(r.Context())})
		call := session.FromContext(r.Context())
		if err != nil {
			shown := err
			if why, _ := reason.Of(err); why != reason.SessionInvalid {
				shown = reason.Error(reason.Unavailable)
			}
			answer.Error(w, r, shown)
			call.Refused = err // for the log
			return
		}
		s, h := call.Session, w.Header()
		h.Set("X-Shares-User-Id", strconv.FormatInt(s.UserID, 10))
		h.Set("X-Shares-Openid", user.GetOpenid())
		h.Set("X-Shares-Session-Expires", strconv.FormatInt(s.Expires.Unix(), 10))
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
	})
}
