package answer

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"shares/internal/reason"
)

// text is one message in two languages. {names} are replaced by the error's metadata.
type text struct{ zh, en string }

// form is how a reason is answered.
type form struct {
	status     int
	code       int    // clients in the field act on 1018 and 2
	retryAfter string // default Retry-After, in seconds; empty: no header
	text
}

// statusClientClosedRequest is nginx's status for a client that disconnected. Only the log shows
// it.
const statusClientClosedRequest = 499

var catalogue = map[reason.Reason]form{
	reason.InvalidField: {400, 1001, "", text{"参数 {field} 不正确", "{field} is not valid"}},
	reason.MalformedBody: {400, 1001, "", text{"请求内容不是合法的 JSON 对象",
		"the body is not a valid JSON object"}},
	reason.UnsupportedMedia: {415, 1001, "", text{"请求内容必须是 JSON（Content-Type: application/json）",
		"the body must be JSON (Content-Type: application/json)"}},
	reason.NotMultipart: {415, 1001, "", text{"请求内容必须是带 boundary 的 multipart/form-data",
		"the body must be multipart/form-data with a boundary"}},
	reason.BodyTooLarge: {413, 1082, "", text{"请求内容过大，最多 {max}", "the body is too large: at most {max}"}},
	reason.LoginCodeRefused: {401, 1008, "", text{"登录凭证无效或已使用，请重新调用 wx.login",
		"the login code was refused: call wx.login again"}},
	reason.SessionInvalid: {401, 1018, "", text{"登录状态已失效，请重新登录", "no valid session: log in again"}},
	reason.BearerMissing: {401, 1018, "", text{"Authorization 请求头缺少 Bearer 前缀，格式为 Bearer <sessionId>",
		"the Authorization header has no Bearer prefix: send Bearer <sessionId>"}},
	reason.UserBlocked: {403, 1080, "", text{"微信拒绝了该用户的请求", "WeChat refuses this user"}},
	reason.CrossOrigin: {403, 1080, "", text{"不允许的跨站请求", "a request from another site is not allowed"}},
	reason.HostNotAllowed: {403, 1080, "", text{"dev 模式不接受该域名，请在 SHARES_PUBLIC_URL 中设置",
		"dev mode does not answer to this host name: set it in SHARES_PUBLIC_URL"}},
	reason.CallerUnknown: {401, 1080, "", text{"请求头缺少有效的令牌，格式为 Authorization: Bearer <token>，令牌见 SHARES_INTERNAL_CALLERS",
		"no token of SHARES_INTERNAL_CALLERS: send Authorization: Bearer <token>"}},
	reason.PathNotAllowed: {403, 1080, "", text{"不允许使用该微信接口或参数，请检查 SHARES_WECHAT_PATHS",
		"this path or parameter of WeChat is not allowed: see SHARES_WECHAT_PATHS"}},
	reason.NotFound:         {404, 1006, "", text{"请求的地址不存在", "there is nothing at this address"}},
	reason.MethodNotAllowed: {405, 1006, "", text{"不支持的请求方法", "this method is not allowed here"}},
	reason.RateLimited:      {429, 1094, "1", text{"请求过于频繁，请稍后再试", "too many requests: try again later"}},
	reason.WechatBadAnswer: {502, -1, "", text{"微信服务返回异常，请稍后再试",
		"WeChat gave an unusable answer: try again later"}},
	reason.Unavailable: {503, -1, "2", text{"服务暂时不可用，请稍后再试",
		"the service is unavailable for the moment: try again later"}},
	reason.Overloaded: {503, -1, "1", text{"服务繁忙，请稍后再试", "the service is busy: try again later"}},
	reason.DeadlineExceeded: {504, -1, "", text{"处理超时，请稍后再试",
		"the request took too long: try again later"}},
	reason.Canceled: {statusClientClosedRequest, -1, "", text{"请求已取消", "the request was canceled"}},
	reason.Internal: {500, 2, "", text{"服务内部错误", "internal error"}},
}

// ruleTexts are the messages of INVALID_FIELD, by broken rule.
var ruleTexts = map[string]text{
	"required":     {"缺少参数 {field}", "{field} is required"},
	"type_string":  {"参数 {field} 的类型不正确，需要字符串", "{field} has the wrong type: it must be a string"},
	"type_boolean": {"参数 {field} 的类型不正确，需要布尔值", "{field} has the wrong type: it must be true or false"},
	"type_number":  {"参数 {field} 的类型不正确，需要数字", "{field} has the wrong type: it must be a number"},
	"type":         {"参数 {field} 的类型不正确，需要 {allowed}", "{field} has the wrong type: it must be of type {allowed}"},
	"encoding":     {"{field} 参数的编码不正确", "the {field} parameters are not correctly encoded"},
	"range":        {"参数 {field} 的取值范围是 {allowed}", "{field} must be in the range {allowed}"},
	"too_long": {"参数 {field} 过长，最多 {max} 个字符",
		"{field} is too long: at most {max} characters"},
	"too_many": {"参数 {field} 过多，最多 {max} 个", "{field} has too many entries: at most {max}"},
	"text":     {"参数 {field} 含有不允许的字符", "{field} has characters that are not allowed"},
	"one_of":   {"参数 {field} 只能是：{allowed}", "{field} must be one of: {allowed}"},
	"url":      {"参数 {field} 必须是 http 或 https 地址", "{field} must be an http or https URL"},
	"temporary_path": {"参数 {field} 是客户端的临时路径，请用 weixin.upload_avatar 上传图片",
		"{field} is a temporary path of the client: upload the picture with weixin.upload_avatar"},
	"phone": {"参数 {field} 必须是 11 位手机号或以 + 开头的国际号码（E.164）",
		"{field} must be an 11-digit mainland number, or an E.164 number that starts with +"},
	"phone_verified_only": {"参数 {field} 只能通过微信验证（phoneCode）设置",
		"{field} can only be set through WeChat's verification (phoneCode)"},
	"phone_code":  {"参数 {field} 无效或已使用，请重新获取", "{field} was refused: ask for it again"},
	"boolean":     {"参数 {field} 只能是 true 或 false", "{field} must be true or false"},
	"unknown_key": {"不能设置 {field}，只能设置：{allowed}", "{field} cannot be set; allowed are: {allowed}"},
	"scene": {"参数 {field} 的长度必须为 1 到 32 个字符，只能包含字母、数字和 !#$&'()*+,/:;=?@-._~",
		"{field} must be 1 to 32 characters: letters, digits and !#$&'()*+,/:;=?@-._~"},
	"page": {"参数 {field} 必须是小程序的页面路径，不能以 / 开头，不能带参数",
		"{field} must be a page of the mini program, without a leading / or a query"},
	"page_unpublished": {"参数 {field} 不是已发布的小程序页面",
		"{field} is not a published page of the mini program"},
	"other_user": {"参数 {field} 不是当前用户的登录凭证", "{field} is the login code of another user"},
	"not_own_avatar": {"参数 {field} 不是当前头像，请用 weixin.upload_avatar 上传图片",
		"{field} is not your current avatar: upload the picture with weixin.upload_avatar"},
	"risky":      {"参数 {field} 含有违规内容", "{field} was refused by WeChat's content check"},
	"incomplete": {"参数 {field} 未上传完整，请重试", "{field} did not arrive whole: try again"},
	"picture": {"参数 {field} 必须是完整的 PNG、JPEG 或 WebP 图片",
		"{field} must be a whole PNG, JPEG or WebP picture"},
	"animation": {"参数 {field} 不能是动图或 GIF，请上传静态的 PNG、JPEG 或 WebP 图片",
		"{field} cannot be a GIF or an animation: send a still PNG, JPEG or WebP picture"},
	"picture_size": {"参数 {field} 的图片尺寸过大，最多约 {max}00 万像素",
		"{field} has too many pixels: at most {max} million"},
	"unchecked": {"内容暂时无法审核，请稍后再试", "{field} cannot be checked at the moment: try again later"},
}

// Row is one row of the error table in the documentation.
type Row struct {
	Status, Code     int
	Reason           reason.Reason
	Chinese, English string
}

// unlisted are the reasons that no user's client sees.
var unlisted = []reason.Reason{reason.Canceled, reason.CallerUnknown, reason.PathNotAllowed}

// Table returns the error table, sorted by status, code and reason. It omits the texts of
// INVALID_FIELD's rules.
func Table() []Row {
	rows := make([]Row, 0, len(catalogue))
	for why, f := range catalogue {
		if !slices.Contains(unlisted, why) {
			rows = append(rows, Row{f.status, f.code, why, f.zh, f.en})
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	return rows
}

// message returns the text for an error's reason and metadata.
func (f form) message(why reason.Reason, metadata map[string]string, english bool) string {
	t := f.text
	if rule, ok := ruleTexts[metadata["rule"]]; ok && why == reason.InvalidField {
		t = rule
	}
	if why == reason.BodyTooLarge {
		metadata = map[string]string{"max": size(metadata["max"])}
	}
	filled := t.zh
	if english {
		filled = t.en
	}
	if !strings.Contains(filled, "{") {
		return filled
	}
	pairs := make([]string, 0, 2*len(metadata))
	for name, value := range metadata {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(filled)
}

// size formats a number of bytes, such as "64 KiB".
func size(bytes string) string {
	n, _ := strconv.Atoi(bytes)
	switch {
	case n >= 1<<20:
		return strconv.Itoa(n>>20) + " MiB"
	case n >= 1<<10:
		return strconv.Itoa(n>>10) + " KiB"
	}
	return bytes + " B"
}

// prefersEnglish reports whether an Accept-Language header prefers English to Chinese.
func prefersEnglish(acceptLanguage string) bool {
	english, best := false, 0.0
	for tag := range strings.SplitSeq(strings.ToLower(acceptLanguage), ",") {
		name, weight, weighted := strings.Cut(strings.ReplaceAll(tag, " ", ""), ";q=")
		language, _, _ := strings.Cut(name, "-")
		q, err := 1.0, error(nil)
		if weighted {
			q, err = strconv.ParseFloat(weight, 64)
		}
		if err == nil && q > best && (language == "en" || language == "zh") {
			english, best = language == "en", q
		}
	}
	return english
}
