package wechat

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"shares/internal/reason"
)

// Error is the type of all errors of a Client's methods. It wraps the error of package reason for
// the caller. Its text has the endpoint, the reason, and WeChat's errcode and request id or a short
// text. It contains no secret, code, token, openid or phone number.
type Error struct {
	endpoint string // the last part of WeChat's path
	code     int    // WeChat's errcode, or 0
	label    string // of the metrics: an errcode of the table, "other", or the reason without one
	detail   string // WeChat's request id, which its support asks for, or a short text
	retry    bool   // errcode -1 or a 5xx
	meaning
}

type meaning struct {
	answer error  // of package reason
	hint   string // what the operator must do if WeChat refuses the app's settings
	stale  bool   // WeChat rejected the access token
}

// Error returns one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("wechat: %s: %s", e.endpoint, e.why())
	if e.code != 0 {
		s += fmt.Sprintf(": errcode %d", e.code)
	}
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

// Unwrap returns an error of package reason.
func (e *Error) Unwrap() error { return e.answer }

func (e *Error) why() reason.Reason {
	why, _ := reason.Of(e.answer)
	return why
}

// Hint returns what the operator must do if WeChat refuses the app's settings, with the address for
// the IP allow list if WeChat named it. It is empty for every other error.
func (e *Error) Hint() string { return e.hint }

// The errors that callers get.
var (
	codeRefused = reason.Error(reason.LoginCodeRefused)
	unavailable = reason.Error(reason.Unavailable)
	internal    = reason.Error(reason.Internal)
)

// isDown reports whether the failure is of WeChat or the network, not of users or settings.
func (e *Error) isDown() bool {
	if e.stale || e.hint != "" {
		return false
	}
	why := e.why()
	return why == reason.Unavailable || why == reason.WechatBadAnswer || why == reason.DeadlineExceeded
}

func failure(why reason.Reason, detail string) *Error {
	return &Error{detail: detail, label: string(why), meaning: meaning{answer: reason.Error(why)}}
}

// badAnswer returns the error for an answer that breaks WeChat's protocol.
func badAnswer(detail string) *Error { return failure(reason.WechatBadAnswer, detail) }

// errOwnTimeout is the cause of a context that Options.Timeout ended.
var errOwnTimeout = errors.New("wechat: own timeout")

func ended(ctx context.Context, endpoint string) *Error {
	if ctx.Err() == nil {
		return nil
	}
	why, _ := reason.Of(ctx.Err())
	e := failure(why, "")
	e.endpoint = endpoint
	return e
}

// The endpoints, by the last part of their path.
const (
	loginEndpoint = "jscode2session"
	tokenEndpoint = "stable_token"
	codeEndpoint  = "getwxacodeunlimit"
	phoneEndpoint = "getuserphonenumber"
	textEndpoint  = "msg_sec_check"
)

// invalidCode is the errcode of a login code that is wrong, expired or of another app.
const invalidCode = 40029

const (
	settingsPage = "mp.weixin.qq.com, 开发管理, 开发设置"
	hintAppID    = "WECHAT_APPID is not an AppID that WeChat knows: compare it with " + settingsPage
	hintSecret   = "WECHAT_SECRET is wrong, of another app, or was reset: " +
		"take the current one from " + settingsPage
	hintFrozen    = "the AppSecret is frozen: unfreeze or reset it at " + settingsPage
	hintAllowList = "add this server's address to the IP allow list (IP白名单) at " + settingsPage
	hintConfirm   = "an administrator of the mini program must confirm this server's address: " +
		"see WeChat's message to the administrator"
	hintForbidden = "the app may not use this interface: see mp.weixin.qq.com, 开发管理, 接口设置, " +
		"and notices about the account"
)

// meanings maps WeChat's errcodes to their meaning here; the first match counts. The source is
// WeChat's documentation of each call and of the global return codes.
var meanings = []struct {
	endpoint string // empty: every one
	errcodes []int
	meaning
}{
	{codeEndpoint, []int{40169, 40129}, meaning{answer: reason.Field("scene", "scene")}},
	{codeEndpoint, []int{41030, 85096}, meaning{answer: reason.Field("page", "page_unpublished")}},
	// The access token is this app's, so the code belongs to another app.
	{phoneEndpoint, []int{40013}, meaning{answer: codeRefused}},
	// On the calls that carry the secret, 40001 is about the secret. The quota of stable_token is
	// the app's, so RATE_LIMITED would not help the user.
	{loginEndpoint, []int{40001}, meaning{answer: unavailable, hint: hintSecret}},
	{tokenEndpoint, []int{40001}, meaning{answer: unavailable, hint: hintSecret}},
	{tokenEndpoint, []int{45009, 45011}, meaning{answer: unavailable}},

	{"", []int{-1}, meaning{answer: unavailable}},
	{"", []int{invalidCode, 40163, 41008}, meaning{answer: codeRefused}},
	{"", []int{40226}, meaning{answer: reason.Error(reason.UserBlocked)}},
	{"", []int{45009, 45011}, meaning{ // WeChat counts per minute
		answer: reason.Error(reason.RateLimited, "retry_after", "60"),
	}},
	// Only content checks return it: the user was not active in the last two hours.
	{"", []int{61010}, meaning{answer: internal}},
	{"", []int{40001, 40014, 42001, 41001}, meaning{answer: unavailable, stale: true}},

	{"", []int{40013, 41002}, meaning{answer: unavailable, hint: hintAppID}},
	{"", []int{40125, 41004}, meaning{answer: unavailable, hint: hintSecret}},
	{"", []int{40243}, meaning{answer: unavailable, hint: hintFrozen}},
	{"", []int{40164}, meaning{answer: unavailable, hint: hintAllowList}},
	{"", []int{89501, 89503, 89506, 89507}, meaning{answer: unavailable, hint: hintConfirm}},
	{"", []int{48001, 48004, 50002}, meaning{answer: unavailable, hint: hintForbidden}},
}

var (
	addressPattern   = regexp.MustCompile(`invalid ip ([0-9A-Fa-f.:]{2,45})`)
	requestIDPattern = regexp.MustCompile(`rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}`)
)

// refusal returns the error for an errcode. One that is not in the table is INTERNAL.
func refusal(endpoint string, errcode int, errmsg string) *Error {
	e := &Error{
		code: errcode, detail: requestIDPattern.FindString(errmsg), retry: errcode == -1,
		label: "other", meaning: meaning{answer: internal},
	}
	for _, m := range meanings {
		if (m.endpoint == "" || m.endpoint == endpoint) && slices.Contains(m.errcodes, errcode) {
			e.label, e.meaning = strconv.Itoa(errcode), m.meaning
			break
		}
	}
	if at := addressPattern.FindStringSubmatch(errmsg); at != nil && e.hint == hintAllowList {
		e.hint += ": " + at[1]
	}
	return e
}
