// Package reason is the vocabulary of failures that rpc and api share. An
// error made here is a gRPC status that carries one google.rpc.ErrorInfo, so
// that it means the same whether it crossed a wire or a function call. api
// alone turns a reason into an HTTP answer; it alone shows one to a user.
package reason

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason says why a call failed, in the sense of google.rpc.ErrorInfo.
type Reason string

// The reasons, with the metadata that they carry.
const (
	InvalidField     Reason = "INVALID_FIELD"      // field, rule, and what the rule's text needs (max, allowed, …)
	LoginCodeRefused Reason = "LOGIN_CODE_REFUSED" // the mini program must call wx.login again
	SessionInvalid   Reason = "SESSION_INVALID"    // no session, or one that is expired, revoked or forged
	UserBlocked      Reason = "USER_BLOCKED"       // WeChat refuses this user
	BearerMissing    Reason = "BEARER_MISSING"     // no session, but an Authorization header without "Bearer "
	CrossOrigin      Reason = "CROSS_ORIGIN"       // a browser sent it from another site
	HostNotAllowed   Reason = "HOST_NOT_ALLOWED"   // dev mode does not answer to this host name
	NotFound         Reason = "NOT_FOUND"          // no such path or picture
	MethodNotAllowed Reason = "METHOD_NOT_ALLOWED" //
	BodyTooLarge     Reason = "BODY_TOO_LARGE"     // max, in bytes
	UnsupportedMedia Reason = "UNSUPPORTED_MEDIA"  // the body is not JSON by its content type
	NotMultipart     Reason = "NOT_MULTIPART"      // an upload is no multipart/form-data by its content type
	MalformedBody    Reason = "MALFORMED_BODY"     // not one JSON object
	RateLimited      Reason = "RATE_LIMITED"       // retry_after, in seconds
	WechatBadAnswer  Reason = "WECHAT_BAD_ANSWER"  // WeChat answered what its protocol does not know
	Unavailable      Reason = "UNAVAILABLE"        // a dependency is unavailable: retry_after, in seconds
	Overloaded       Reason = "OVERLOADED"         // this process has all it can do: retry_after, in seconds
	DeadlineExceeded Reason = "DEADLINE_EXCEEDED"  //
	Canceled         Reason = "CANCELED"           // the caller hung up
	Internal         Reason = "INTERNAL"           // anything unknown
)

// Domain is the ErrorInfo domain of every reason.
const Domain = "shares"

// code is the gRPC code that a reason of rpc travels under. Reasons of api alone do not travel.
func (r Reason) code() codes.Code {
	switch r {
	case InvalidField:
		return codes.InvalidArgument
	case LoginCodeRefused, SessionInvalid:
		return codes.Unauthenticated
	case UserBlocked:
		return codes.PermissionDenied
	case RateLimited:
		return codes.ResourceExhausted
	case Unavailable, Overloaded:
		return codes.Unavailable
	case DeadlineExceeded:
		return codes.DeadlineExceeded
	case Canceled:
		return codes.Canceled
	case WechatBadAnswer:
		return codes.Aborted
	}
	return codes.Internal
}

// Error makes the error of a reason. metadata is key, value, key, value; it
// may reach a user, so it must hold no secret and nothing internal.
func Error(r Reason, metadata ...string) error {
	info := &errdetails.ErrorInfo{Reason: string(r), Domain: Domain}
	if len(metadata) > 0 {
		info.Metadata = make(map[string]string, len(metadata)/2)
		for i := 0; i+1 < len(metadata); i += 2 {
			info.Metadata[metadata[i]] = metadata[i+1]
		}
	}
	s, err := status.New(r.code(), string(r)).WithDetails(info)
	if err != nil {
		return status.Error(r.code(), string(r))
	}
	return s.Err()
}

// Field makes the InvalidField error for a field and the rule that it breaks.
func Field(field, rule string, metadata ...string) error {
	return Error(InvalidField, append([]string{"field", field, "rule", rule}, metadata...)...)
}

// Of returns err's reason and metadata. Errors that carry none are told by
// their context error or gRPC code; what remains is Internal. The metadata
// must not be changed.
func Of(err error) (Reason, map[string]string) {
	if s, ok := status.FromError(err); ok {
		if info := infoOf(s); info != nil {
			return Reason(info.GetReason()), info.GetMetadata()
		}
		switch s.Code() {
		case codes.DeadlineExceeded:
			return DeadlineExceeded, nil
		case codes.Canceled:
			return Canceled, nil
		case codes.Unavailable, codes.ResourceExhausted:
			// gRPC's own: no connection, or a message that is too large.
			return Unavailable, nil
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded, nil
	case errors.Is(err, context.Canceled):
		return Canceled, nil
	}
	return Internal, nil
}

func infoOf(s *status.Status) *errdetails.ErrorInfo {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info
		}
	}
	return nil
}

// Bare reports whether err is an error of Error and wraps no cause. Such an error
// is a refusal, or its cause was logged where it was converted.
func Bare(err error) bool {
	s, ok := err.(interface{ GRPCStatus() *status.Status })
	return ok && infoOf(s.GRPCStatus()) != nil
}
