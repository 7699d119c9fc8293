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

// unlimited admits every request: the other service limits its users.
type unlimited struct{}

func (unlimited) Allow(int64) bool { return true }

// Handler returns the handler of requests with the credentials of an original request, for every
// method. It answers 200 with the user in headers, 401 without a valid session, or 503 if the
// session cannot be checked.
func Handler(tokens *session.Tokens, users pb.WeixinClient) http.Handler {
	sessions := middleware.NewSessionMiddleware(&middleware.Credentials{Tokens: tokens, Users: unlimited{}})
	return sessions.Handle(func(w http.ResponseWriter, r *http.Request) {
		call := session.FromContext(r.Context())
		user, err := users.GetUser(r.Context(), &pb.GetUserReq{Caller: session.Caller(r.Context())})
		if why, _ := reason.Of(err); err != nil && why == reason.SessionInvalid {
			answer.Error(w, r, err)
			return
		}
		if err != nil {
			answer.Error(w, r, reason.Error(reason.Unavailable))
			call.Refused = err // for the log
			return
		}
		h := w.Header()
		h.Set("X-Shares-User-Id", strconv.FormatInt(call.Session.UserID, 10))
		h.Set("X-Shares-Openid", user.GetOpenid())
		h.Set("X-Shares-Session-Expires", strconv.FormatInt(call.Session.Expires.Unix(), 10))
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
	})
}
