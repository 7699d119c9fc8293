// Package reason defines the errors that rpc and api share. An error is a gRPC status with one
// google.rpc.ErrorInfo, so it survives both a network call and a function call. Only api turns a
// reason into an HTTP answer and a text for the user.
package reason

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason is the reason of a failed call, as in google.rpc.ErrorInfo.
type Reason string

// The reasons. The comments give their meaning and metadata.
const (
	InvalidField     Reason = "INVALID_FIELD"      // field, rule, and values for the rule's text (max, allowed, …)
	LoginCodeRefused Reason = "LOGIN_CODE_REFUSED" // the mini program must call wx.login again
	SessionInvalid   Reason = "SESSION_INVALID"    // no session, or one that is expired, revoked or forged
	UserBlocked      Reason = "USER_BLOCKED"       // WeChat refuses this user
	BearerMissing    Reason = "BEARER_MISSING"     // no session, but an Authorization header without "Bearer "
	CrossOrigin      Reason = "CROSS_ORIGIN"       // a page of another origin sent it
	HostNotAllowed   Reason = "HOST_NOT_ALLOWED"   // dev mode does not accept this host name
	CallerUnknown    Reason = "CALLER_UNKNOWN"     // no token of a service that may use the internal port
	PathNotAllowed   Reason = "PATH_NOT_ALLOWED"   // services may not use this path or parameter of WeChat
	NotFound         Reason = "NOT_FOUND"          // no such path or picture
	MethodNotAllowed Reason = "METHOD_NOT_ALLOWED" //
	BodyTooLarge     Reason = "BODY_TOO_LARGE"     // max, in bytes
	UnsupportedMedia Reason = "UNSUPPORTED_MEDIA"  // the content type is not JSON
	NotMultipart     Reason = "NOT_MULTIPART"      // the content type of an upload is not multipart/form-data
	MalformedBody    Reason = "MALFORMED_BODY"     // not one JSON object
	RateLimited      Reason = "RATE_LIMITED"       // retry_after, in seconds
	WechatBadAnswer  Reason = "WECHAT_BAD_ANSWER"  // WeChat's answer does not follow its protocol
	Unavailable      Reason = "UNAVAILABLE"        // a dependency is unavailable: retry_after, in seconds
	Overloaded       Reason = "OVERLOADED"         // this process is at a concurrency limit: retry_after, in seconds
	DeadlineExceeded Reason = "DEADLINE_EXCEEDED"  //
	Canceled         Reason = "CANCELED"           // the caller disconnected
	Internal         Reason = "INTERNAL"           // anything unknown
)

// Domain is the ErrorInfo domain of every reason.
const Domain = "shares"

// code returns the gRPC code of r. Reasons that only api uses are never sent, and have Internal.
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

// Error returns an error with a reason. metadata is key, value, key, value. It may be shown to
// users, so it must not contain secrets or internal details.
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

// Field returns the InvalidField error for a field and the rule that it breaks.
func Field(field, rule string, metadata ...string) error {
	return Error(InvalidField, append([]string{"field", field, "rule", rule}, metadata...)...)
}

// Of returns err's reason and metadata. For an error without a reason it derives one from the
// context error or the gRPC code, and otherwise returns Internal. The caller must not change the
// metadata.
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
			// From gRPC itself: no connection, or a message that is too large.
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

// Bare reports whether err was made by Error and has no cause. Such an error is a refusal, or its
// cause was logged when it was converted.
func Bare(err error) bool {
	s, ok := err.(interface{ GRPCStatus() *status.Status })
	return ok && infoOf(s.GRPCStatus()) != nil
}
