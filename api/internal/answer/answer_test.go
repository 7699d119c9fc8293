package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/api/internal/session"
	"shares/api/internal/types"
	"shares/internal/reason"
)

// answered is an answer as the client sees it.
type answered struct {
	Status     int
	RetryAfter string
	Body       string
}

type request struct {
	language string
	cookie   string
	call     session.Call
}

func (q *request) do(answer func(http.ResponseWriter, *http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	if q.language != "" {
		r.Header.Set("Accept-Language", q.language)
	}
	if q.cookie != "" {
		r.Header.Set("Cookie", q.cookie)
	}
	rec := httptest.NewRecorder()
	answer(rec, r.WithContext(session.NewContext(r.Context(), &q.call)))
	return rec
}

func (q *request) err(err error) answered {
	rec := q.do(func(w http.ResponseWriter, r *http.Request) { Error(w, r, err) })
	return answered{rec.Code, rec.Header().Get("Retry-After"), rec.Body.String()}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want answered
	}{
		{reason.Field("nickName", "too_long", "max", "64"), answered{400, "", `{"code":1001,"msg":"参数 nickName 过长，最多 64 个字符"}`}},
		{reason.Field("jscode", "required"), answered{400, "", `{"code":1001,"msg":"缺少参数 jscode"}`}},
		{reason.Error(reason.MalformedBody), answered{400, "", `{"code":1001,"msg":"请求内容不是合法的 JSON 对象"}`}},
		{reason.Error(reason.LoginCodeRefused), answered{401, "", `{"code":1008,"msg":"登录凭证无效或已使用，请重新调用 wx.login"}`}},
		{reason.Error(reason.SessionInvalid), answered{401, "", `{"code":1018,"msg":"登录状态已失效，请重新登录"}`}},
		{reason.Error(reason.BearerMissing), answered{401, "", `{"code":1018,"msg":"Authorization 请求头缺少 Bearer 前缀，格式为 Bearer <sessionId>"}`}},
		{reason.Error(reason.HostNotAllowed), answered{403, "", `{"code":1080,"msg":"dev 模式不接受该域名，请在 SHARES_PUBLIC_URL 中设置"}`}},
		{reason.Error(reason.NotMultipart), answered{415, "", `{"code":1001,"msg":"请求内容必须是带 boundary 的 multipart/form-data"}`}},
		{reason.Error(reason.Canceled), answered{499, "", `{"code":-1,"msg":"请求已取消"}`}},
		{reason.Field("{max}", "too_long", "max", "64"), answered{400, "", `{"code":1001,"msg":"参数 {max} 过长，最多 64 个字符"}`}}, // a key that the client chose
		{reason.Error(reason.UserBlocked), answered{403, "", `{"code":1080,"msg":"微信拒绝了该用户的请求"}`}},
		{reason.Error(reason.CrossOrigin), answered{403, "", `{"code":1080,"msg":"不允许的跨站请求"}`}},
		{reason.Error(reason.NotFound), answered{404, "", `{"code":1006,"msg":"请求的地址不存在"}`}},
		{reason.Error(reason.MethodNotAllowed), answered{405, "", `{"code":1006,"msg":"不支持的请求方法"}`}},
		{reason.Error(reason.BodyTooLarge, "max", "65536"), answered{413, "", `{"code":1082,"msg":"请求内容过大，最多 64 KiB"}`}},
		{reason.Error(reason.BodyTooLarge, "max", "2097152"), answered{413, "", `{"code":1082,"msg":"请求内容过大，最多 2 MiB"}`}},
		{reason.Error(reason.BodyTooLarge, "max", "0"), answered{413, "", `{"code":1082,"msg":"请求内容过大，最多 0 B"}`}},
		{reason.Error(reason.UnsupportedMedia), answered{415, "", `{"code":1001,"msg":"请求内容必须是 JSON（Content-Type: application/json）"}`}},
		{reason.Error(reason.RateLimited, "retry_after", "17"), answered{429, "17", `{"code":1094,"msg":"请求过于频繁，请稍后再试"}`}},
		{reason.Error(reason.RateLimited), answered{429, "1", `{"code":1094,"msg":"请求过于频繁，请稍后再试"}`}},
		{reason.Error(reason.WechatBadAnswer), answered{502, "", `{"code":-1,"msg":"微信服务返回异常，请稍后再试"}`}},
		{reason.Error(reason.Unavailable), answered{503, "2", `{"code":-1,"msg":"服务暂时不可用，请稍后再试"}`}},
		{reason.Error(reason.Overloaded), answered{503, "1", `{"code":-1,"msg":"服务繁忙，请稍后再试"}`}},
		{reason.Error(reason.DeadlineExceeded), answered{504, "", `{"code":-1,"msg":"处理超时，请稍后再试"}`}},
		{context.DeadlineExceeded, answered{504, "", `{"code":-1,"msg":"处理超时，请稍后再试"}`}},
		{reason.Error(reason.Internal), answered{500, "", `{"code":2,"msg":"服务内部错误"}`}},
		{errors.New("anything"), answered{500, "", `{"code":2,"msg":"服务内部错误"}`}},
		{reason.Error("NEVER_HEARD_OF"), answered{500, "", `{"code":2,"msg":"服务内部错误"}`}},
		{reason.Field("city", "a rule of a newer rpc"), answered{400, "", `{"code":1001,"msg":"参数 city 不正确"}`}},
		{fmt.Errorf("store: %w", reason.Error(reason.SessionInvalid)), answered{401, "", `{"code":1018,"msg":"登录状态已失效，请重新登录"}`}},
		{errors.Join(reason.Error(reason.Unavailable), errors.New("bucket")), answered{503, "2", `{"code":-1,"msg":"服务暂时不可用，请稍后再试"}`}},
	} {
		if diff := cmp.Diff(tt.want, (&request{}).err(tt.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.err, diff)
		}
	}
}

// The legacy service answered everything with status 200.
func TestEnvelope(t *testing.T) {
	q := request{call: session.Call{Envelope: true}}
	want := answered{200, "", `{"state":false,"code":1018,"error":"登录状态已失效，请重新登录"}`}
	if diff := cmp.Diff(want, q.err(reason.Error(reason.SessionInvalid))); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	want = answered{200, "2", `{"state":false,"code":-1,"error":"服务暂时不可用，请稍后再试"}`}
	if diff := cmp.Diff(want, q.err(reason.Error(reason.Unavailable))); diff != "" {
		t.Errorf("unavailable (-want +got):\n%s", diff)
	}
	rec := q.do(func(w http.ResponseWriter, r *http.Request) { OK(w, r, &types.GetQrcodeResp{Url: "https://a/b?c&d"}) })
	if got, want := rec.Body.String(), `{"state":true,"code":0,"error":"normal","data":{"url":"https://a/b?c&d"}}`; got != want || rec.Code != 200 {
		t.Errorf("%d %s, want %s", rec.Code, got, want)
	}
}

// The text of an error goes to the log, never to the client.
func TestErrorsDoNotLeak(t *testing.T) {
	const secret = "appsecret-0123456789"
	for _, err := range []error{
		errors.New("dial tcp: " + secret),
		fmt.Errorf("%s: %w", secret, reason.Error(reason.Unavailable)),
		fmt.Errorf("%s: %w", secret, context.DeadlineExceeded),
		errors.Join(reason.Error(reason.Internal), errors.New(secret)),
		reason.Error(reason.Reason(secret)),
	} {
		for _, envelope := range []bool{false, true} {
			q := request{call: session.Call{Envelope: envelope}}
			got := q.err(err)
			if strings.Contains(fmt.Sprint(got), secret) {
				t.Errorf("%v: %v", err, got)
			}
			if q.call.Refused != err {
				t.Errorf("Refused: got %v, want %v", q.call.Refused, err)
			}
		}
	}
}

// Every documented field is present, even if empty, and texts are not changed.
func TestOK(t *testing.T) {
	for _, tt := range []struct {
		name string
		resp any
		want string
	}{
		{"no fields", &types.UpdateUserInfoResp{}, `{}`},
		{"all empty", &types.ReLoginResp{}, `{"relogin":false,"sessionId":"","openId":"","overdueTime":0}`},
		{"filled", &types.OauthResp{SessionId: "s", OpenId: "o", OverdueTime: 1760007200}, `{"sessionId":"s","openId":"o","overdueTime":1760007200}`},
		{"markup", &types.GetQrcodeResp{Url: "<a>&\u2028"}, "{\"url\":\"<a>&\u2028\"}"},
		{"invalid UTF-8", &types.GetQrcodeResp{Url: "a\xffb"}, "{\"url\":\"a\ufffdb\"}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := (&request{}).do(func(w http.ResponseWriter, r *http.Request) { OK(w, r, tt.resp) })
			if rec.Code != http.StatusOK {
				t.Errorf("status %d, want 200", rec.Code)
			}
			if diff := cmp.Diff(tt.want, rec.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			want := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {fmt.Sprint(len(tt.want))}}
			if diff := cmp.Diff(want, rec.Header()); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnwritableIsInternal(t *testing.T) {
	rec := (&request{}).do(func(w http.ResponseWriter, r *http.Request) { OK(w, r, make(chan int)) })
	if rec.Code != 500 || rec.Body.String() != `{"code":2,"msg":"服务内部错误"}` {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestCookie(t *testing.T) {
	in := func(d time.Duration) *session.HandedOut {
		return &session.HandedOut{Token: "abc", Session: session.Session{Expires: time.Now().Add(d)}}
	}
	for _, tt := range []struct {
		name   string
		secure bool
		cookie string // of the request
		handed *session.HandedOut
		want   []string
	}{
		{"none handed out", true, "", nil, nil},
		{"over https", true, "", in(2 * time.Hour), []string{"session_token=abc; Path=/; Max-Age=7200; HttpOnly; Secure; SameSite=Lax"}},
		{"over http", false, "session_token=old", in(2 * time.Hour), []string{"session_token=abc; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax"}},
		{"about to expire", true, "", in(time.Millisecond), []string{"session_token=abc; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax"}},
		{"not cleared without a cookie", true, "", &session.HandedOut{}, nil},
		{"not cleared for another cookie", true, "a=b", &session.HandedOut{}, nil},
		{"cleared", true, "a=b; session_token=old", &session.HandedOut{}, []string{"session_token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := request{cookie: tt.cookie, call: session.Call{Secure: tt.secure, HandedOut: tt.handed}}
			rec := q.do(func(w http.ResponseWriter, r *http.Request) { OK(w, r, &types.ReLoginResp{}) })
			if diff := cmp.Diff(tt.want, rec.Header()["Set-Cookie"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			rec = q.do(func(w http.ResponseWriter, r *http.Request) { Error(w, r, reason.Error(reason.Unavailable)) })
			if got := rec.Header()["Set-Cookie"]; got != nil {
				t.Errorf("a refusal sets %v", got)
			}
		})
	}
}
