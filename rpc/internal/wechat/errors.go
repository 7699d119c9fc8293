package wechat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Kind is what an Error means to the caller, whatever WeChat's number was.
type Kind uint8

const (
	// Unknown is an errcode that is not in the table; this package logs its number.
	Unknown Kind = iota
	// CodeRefused is a login or phone code that is wrong, used, expired or of another app.
	CodeRefused
	// Busy is a quota of the user or the app that is used up for now.
	Busy
	// Blocked is a user whom WeChat rates as high risk.
	Blocked
	// Misconfigured is an AppID, secret, IP whitelist or permission that only the operator can fix.
	// Error.Hint says how.
	Misconfigured
	// InvalidArgument is a parameter that WeChat refuses. Error.Field names it if WeChat does.
	InvalidArgument
	// BadAnswer is an answer outside the protocol: no JSON, no openid, a broken image, a redirect.
	BadAnswer
	// Unavailable is a network fault, a 5xx, errcode -1, an open breaker or a missing access token.
	Unavailable
	// Deadline is a call that reached its context's deadline or Options.Timeout.
	Deadline
	// Canceled is a call whose context was canceled.
	Canceled
	// Inactive is a user who was not active for two hours: WeChat checks no text in their name.
	Inactive
)

var kindNames = []string{"unknown error", "code refused", "busy", "user blocked", "misconfigured", "invalid argument",
	"bad answer", "unavailable", "deadline exceeded", "canceled", "user inactive"}

// String returns the kind in lower-case words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Unknown]
}

// Error is every error that a Client's methods return. Its text holds no secret, code, token, openid or
// phone number, nor anything else that WeChat or the caller sent.
type Error struct {
	Kind     Kind
	Endpoint string // the last part of WeChat's path, such as "jscode2session"
	Code     int    // WeChat's errcode, or 0
	Field    string // of an InvalidArgument: "scene", "page", "content", "openid" or ""
	Reason   string // a fixed phrase of this package, such as "connection refused", or ""

	hint  string
	cause error // context.Canceled, context.DeadlineExceeded or nil
	stale bool  // WeChat rejected the access token
	retry bool  // errcode -1 or a 5xx
	own   bool  // Options.Timeout ended the call, not the caller's deadline
}

// Error returns one line of fixed words, and WeChat's errcode where the table knows it.
func (e *Error) Error() string {
	s := "wechat: "
	if e.Endpoint != "" {
		s += e.Endpoint + ": "
	}
	s += e.Kind.String()
	switch {
	case e.Reason != "":
		s += " (" + e.Reason + ")"
	case e.Code != 0 && e.Kind != Unknown:
		s += " (" + strconv.Itoa(e.Code) + ")"
	}
	return s
}

// Unwrap returns the context's error for Deadline and Canceled, else nil.
func (e *Error) Unwrap() error { return e.cause }

// Hint says what the operator has to do about a Misconfigured, with the address for the whitelist if
// WeChat named it. It is empty for every other kind.
func (e *Error) Hint() string { return e.hint }

// KindOf returns the kind of the first *Error in err's chain, or Unknown.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Unknown
}

// errOwnTimeout is the cause of a context that Options.Timeout ended.
var errOwnTimeout = errors.New("wechat: own timeout")

// ended returns the Error of a context that has ended, else nil.
func ended(ctx context.Context) *Error {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &Error{Kind: Canceled, cause: context.Canceled}
	default:
		return &Error{Kind: Deadline, cause: context.DeadlineExceeded, own: errors.Is(context.Cause(ctx), errOwnTimeout)}
	}
}

// The endpoints, by the last part of their path.
const (
	anyEndpoint   = ""
	loginEndpoint = "jscode2session"
	tokenEndpoint = "stable_token"
	codeEndpoint  = "getwxacodeunlimit"
	phoneEndpoint = "getuserphonenumber"
	textEndpoint  = "msg_sec_check"
)

// invalidCode is the errcode of a login code that is wrong, expired or of another app.
const invalidCode = 40029

type answerCode struct {
	endpoint string
	errcode  int
}

type meaning struct {
	kind  Kind
	field string
	hint  string
	stale bool
}

const (
	hintAppID     = "WECHAT_APPID is not an AppID that WeChat knows: compare it with mp.weixin.qq.com, 开发管理, 开发设置"
	hintSecret    = "WECHAT_SECRET is wrong, of another app, or was reset: take the current one from mp.weixin.qq.com, 开发管理, 开发设置"
	hintFrozen    = "the AppSecret is frozen: unfreeze or reset it at mp.weixin.qq.com, 开发管理, 开发设置"
	hintWhitelist = "add this server's address to the IP whitelist (IP白名单) at mp.weixin.qq.com, 开发管理, 开发设置"
	hintConfirm   = "an administrator of the mini program must confirm this server's address: see WeChat's message to the administrator"
	hintForbidden = "the app may not use this interface: see mp.weixin.qq.com, 开发管理, 接口设置, and notices about the account"
)

// meanings is the one table from WeChat's errcode to what it means here. An entry of an endpoint goes before that of any endpoint.
// Source: WeChat's documentation of each call and of the global return codes. It is never written.
var meanings = map[answerCode]meaning{
	{anyEndpoint, -1}: {kind: Unavailable},

	{anyEndpoint, 40029}: {kind: CodeRefused},
	{anyEndpoint, 40163}: {kind: CodeRefused},
	{anyEndpoint, 41008}: {kind: CodeRefused},
	{anyEndpoint, 40226}: {kind: Blocked},
	{anyEndpoint, 45009}: {kind: Busy},
	{anyEndpoint, 45011}: {kind: Busy},
	{anyEndpoint, 61010}: {kind: Inactive},

	{anyEndpoint, 40013}: {kind: Misconfigured, hint: hintAppID},
	{anyEndpoint, 41002}: {kind: Misconfigured, hint: hintAppID},
	{anyEndpoint, 40125}: {kind: Misconfigured, hint: hintSecret},
	{anyEndpoint, 41004}: {kind: Misconfigured, hint: hintSecret},
	{anyEndpoint, 40243}: {kind: Misconfigured, hint: hintFrozen},
	{anyEndpoint, 40164}: {kind: Misconfigured, hint: hintWhitelist},
	{anyEndpoint, 89501}: {kind: Misconfigured, hint: hintConfirm},
	{anyEndpoint, 89503}: {kind: Misconfigured, hint: hintConfirm},
	{anyEndpoint, 89506}: {kind: Misconfigured, hint: hintConfirm},
	{anyEndpoint, 89507}: {kind: Misconfigured, hint: hintConfirm},
	{anyEndpoint, 48001}: {kind: Misconfigured, hint: hintForbidden},
	{anyEndpoint, 48004}: {kind: Misconfigured, hint: hintForbidden},
	{anyEndpoint, 50002}: {kind: Misconfigured, hint: hintForbidden},

	{anyEndpoint, 40001}: {kind: Unavailable, stale: true},
	{anyEndpoint, 40014}: {kind: Unavailable, stale: true},
	{anyEndpoint, 42001}: {kind: Unavailable, stale: true},
	{anyEndpoint, 41001}: {kind: Unavailable, stale: true},

	// On the calls that carry the secret, 40001 is about the secret. Their quotas are the app's: no
	// user can slow down.
	{loginEndpoint, 40001}: {kind: Misconfigured, hint: hintSecret},
	{tokenEndpoint, 40001}: {kind: Misconfigured, hint: hintSecret},
	{tokenEndpoint, 45009}: {kind: Unavailable},
	{tokenEndpoint, 45011}: {kind: Unavailable},

	{codeEndpoint, 40169}: {kind: InvalidArgument, field: "scene"},
	{codeEndpoint, 40129}: {kind: InvalidArgument, field: "scene"},
	{codeEndpoint, 41030}: {kind: InvalidArgument, field: "page"},
	{codeEndpoint, 85096}: {kind: InvalidArgument, field: "page"},
	{codeEndpoint, 40097}: {kind: InvalidArgument},

	// The access token was of our app, so the code is of another.
	{phoneEndpoint, 40013}: {kind: CodeRefused},

	{textEndpoint, 40003}: {kind: InvalidArgument, field: "openid"},
	{textEndpoint, 44004}: {kind: InvalidArgument, field: "content"},
	{textEndpoint, 45002}: {kind: InvalidArgument, field: "content"},
}

func meaningOf(endpoint string, errcode int) (meaning, bool) {
	if m, ok := meanings[answerCode{endpoint, errcode}]; ok {
		return m, true
	}
	m, ok := meanings[answerCode{anyEndpoint, errcode}]
	return m, ok
}

// refusal turns an errcode other than 0 into an Error.
func refusal(endpoint string, errcode int, errmsg string) *Error {
	m, _ := meaningOf(endpoint, errcode)
	e := &Error{Kind: m.kind, Endpoint: endpoint, Code: errcode, Field: m.field, hint: m.hint, stale: m.stale, retry: errcode == -1}
	if e.hint == hintWhitelist {
		if addr, ok := refusedAddress(errmsg); ok {
			e.hint = fmt.Sprintf("%s: %s", hintWhitelist, addr)
		}
	}
	return e
}

// label returns the value of the metrics' errcode label: an errcode of the table, "other", or the kind
// of a failure without an errcode.
func (e *Error) label() string {
	switch {
	case e == nil:
		return "0"
	case e.Code == 0:
		return e.Kind.String()
	}
	if _, ok := meaningOf(e.Endpoint, e.Code); ok {
		return strconv.Itoa(e.Code)
	}
	return "other"
}
