// Package session identifies the caller: it signs and verifies sessionIds and keeps a request's
// state in its Call. The middlewares read credentials into the Call; logic uses Caller and HandOut,
// and does not see HTTP.
package session

import (
	"context"

	"shares/internal/requestid"
	"shares/rpc/pb"
)

// Call is the state of one request, the only context value of the edge. Middlewares and logic set
// it; the answer and the access log read it.
type Call struct {
	Route    string // label of metrics and log lines; empty: by the path
	ID       string // request id, in X-Request-Id and every log line
	Base     string // scheme and host of the request's URL; set only without a public URL
	Envelope bool   // answer in the legacy form: HTTP 200 and {"state","code","error","data"}
	Secure   bool   // the public URL is https: cookies carry Secure

	FromBody string  // sessionID of the body, set by BodySession
	Session  Session // verified session; UserID 0: none

	ClientAppID string // AppID of the calling mini program, from the Referer; set for logins
	File        []byte // uploaded file

	HandedOut *HandedOut // set by HandOut or Clear
	Refused   error      // set by answer.Error
}

// RequestID returns ID, for requestid.FromContext.
func (c *Call) RequestID() string { return c.ID }

// HandedOut is the sessionId for the answer's cookie. An empty token clears the cookie.
type HandedOut struct {
	Token   string
	Session Session
}

// NewContext returns ctx with call in it.
func NewContext(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, requestid.Key{}, call)
}

// FromContext returns the request's Call, or an empty one outside of a request.
func FromContext(ctx context.Context) *Call {
	if call, ok := ctx.Value(requestid.Key{}).(*Call); ok {
		return call
	}
	return &Call{}
}

// Caller returns the caller for an rpc request. It returns nil without a session; rpc refuses nil.
func Caller(ctx context.Context) *pb.Caller {
	s := FromContext(ctx).Session
	if s.UserID == 0 {
		return nil
	}
	return &pb.Caller{UserId: s.UserID, Epoch: s.Epoch}
}

// HandOut makes the answer set the cookie to token.
func HandOut(ctx context.Context, token string, s Session) {
	FromContext(ctx).HandedOut = &HandedOut{Token: token, Session: s}
}

// Clear makes the answer clear the cookie.
func Clear(ctx context.Context) { HandOut(ctx, "", Session{}) }
