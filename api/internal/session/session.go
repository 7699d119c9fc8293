// Package session is who is calling: the signed sessionId, where a request
// may carry it, and what logic may ask about it. The middlewares of the edge
// read credentials into a request's Call; logic asks Caller and hands out
// sessions, and sees no HTTP.
package session

import (
	"context"

	"shares/internal/requestid"
	"shares/rpc/pb"
)

// Call is the state of one request, the only context value of the edge.
// Middlewares and logic fill it; the answer and the access log are made from it.
type Call struct {
	ID       string // of the request, in X-Request-Id and every log line
	Base     string // scheme and host that the request came to
	Envelope bool   // answer in the legacy form: HTTP 200 and {"state","code","error","data"}
	Secure   bool   // the public URL is https: cookies carry Secure

	FromBody string  // the body's sessionID, where the endpoint takes one there
	Session  Session // of the credential that counts, once verified; without a user: none

	ClientAppID string // the calling mini program's AppID, as its Referer says; set for logins
	File        []byte // of an upload

	HandedOut *HandedOut // set by HandOut or Clear
	Refused   error      // set by answer.Error
}

// RequestID returns ID; requestid.FromContext uses it.
func (c *Call) RequestID() string { return c.ID }

// HandedOut is the sessionId that an answer's cookie shall hold; an empty
// token clears the cookie.
type HandedOut struct {
	Token   string
	Session Session
}

// NewContext returns ctx with call in it.
func NewContext(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, requestid.Key{}, call)
}

// FromContext returns the request's Call, and outside of a request an empty one.
func FromContext(ctx context.Context) *Call {
	if call, ok := ctx.Value(requestid.Key{}).(*Call); ok {
		return call
	}
	return &Call{}
}

// Caller returns who is calling in the form that every rpc takes; nil without
// a session, which the rpc refuses.
func Caller(ctx context.Context) *pb.Caller {
	s := FromContext(ctx).Session
	if s.UserID == 0 {
		return nil
	}
	return &pb.Caller{UserId: s.UserID, Epoch: s.Epoch}
}

// HandOut has the answer set the cookie to token.
func HandOut(ctx context.Context, token string, s Session) {
	FromContext(ctx).HandedOut = &HandedOut{Token: token, Session: s}
}

// Clear has the answer clear the cookie.
func Clear(ctx context.Context) { HandOut(ctx, "", Session{}) }
