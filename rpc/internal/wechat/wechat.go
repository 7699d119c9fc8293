package wechat

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/medivhzhan/weapp/v3"
	"github.com/medivhzhan/weapp/v3/auth"
	"github.com/medivhzhan/weapp/v3/phonenumber"
	"github.com/medivhzhan/weapp/v3/security"
	"github.com/medivhzhan/weapp/v3/wxacode"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/internal/config"
)

// Options configure a Client. All are required but Transport and Metrics.
type Options struct {
	AppID     string
	Secret    config.Secret         // no formatting verb prints it
	BaseURL   string                // http or https, with or without a path
	Redis     redis.UniversalClient // shares the access token among the replicas
	TokenKey  string                // in Redis
	Timeout   time.Duration         // of one whole operation: token, call and retry
	Transport http.RoundTripper     // nil: newTransport()
	Logger    *slog.Logger
	Metrics   prometheus.Registerer // nil: not registered
	Now       func() time.Time      // clock for the age of tokens
}

// Client calls WeChat's server API for one mini program.
type Client struct {
	Options
	base    *url.URL
	metrics *metrics
	tokens  *tokenSource

	login, stable, code, phone, text *endpoint
}

// New returns a Client. It makes no call, and fails if the base URL cannot be parsed.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil {
		return nil, errors.New("wechat: base URL cannot be parsed") // err contains the URL
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	c := &Client{
		Options: o,
		base:    base.JoinPath("/"), // never empty, so that JoinPath returns an absolute path
		metrics: newMetrics(o.Metrics),
		login:   newEndpoint(loginEndpoint),
		stable:  newEndpoint(tokenEndpoint),
		code:    newEndpoint(codeEndpoint),
		phone:   newEndpoint(phoneEndpoint),
		text:    newEndpoint(textEndpoint),
	}
	c.code.image, c.code.retry, c.text.retry = true, true, true
	c.tokens = &tokenSource{Client: c, fetch: c.stableToken, key: o.TokenKey}
	c.tokens.held.Store(&heldToken{})
	return c, nil
}

var (
	validID     = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`) // WeChat's ids have 28 characters
	validNumber = regexp.MustCompile(`^[0-9]{2,15}$`)
)

// Code2Session exchanges a login code (wx.login) for the user's openid and unionid, which is empty
// if the app is bound to no Open Platform account. Both are case-sensitive, with 1 to 64 characters
// of [0-9A-Za-z_-]. It never sends a code twice. It drops the session key, because the service
// decrypts no client data. After an error with the reason LOGIN_CODE_REFUSED the mini program must
// call wx.login again. clientAppID is the AppID of the calling mini program, or "". If it differs
// from AppID, a refused code is logged with both.
func (c *Client) Code2Session(
	ctx context.Context, code, clientAppID string,
) (openid, unionid string, _ error) {
	err := c.call(ctx, c.login, "", func(w *weapp.Client) error {
		rsp, err := w.NewAuth().Code2Session(&auth.Code2SessionRequest{
			Appid: c.AppID, Secret: string(c.Secret), JsCode: code, GrantType: "authorization_code",
		})
		if err != nil {
			return err
		}
		if !validID.MatchString(rsp.Openid) || rsp.Unionid != "" && !validID.MatchString(rsp.Unionid) {
			return badAnswer("no usable openid")
		}
		openid, unionid = rsp.Openid, rsp.Unionid
		return nil
	})
	e, ok := errors.AsType[*Error](err)
	if ok && e.code == invalidCode && clientAppID != "" && clientAppID != c.AppID {
		c.metrics.otherApp.Inc()
		c.login.log.DoOrDiscard(func() {
			c.Logger.WarnContext(ctx, "login refused: 40029: the code belongs to another AppID",
				"client_appid", clientAppID, "wechat_appid", c.AppID,
				"todo", "set WECHAT_APPID and WECHAT_SECRET to those of the mini program")
		})
	}
	return openid, unionid, err
}

// CodeParams are the parameters of getwxacodeunlimit, all sent unchanged.
type CodeParams struct {
	Page       string  // empty: the mini program's first page
	Scene      string  // 1 to 32 characters
	EnvVersion string  // release, trial or develop; empty: release
	Width      int     // pixels, 280 to 1280; 0: WeChat's 430
	CheckPath  bool    // the page must be published; WeChat's default is true
	IsHyaline  bool    // transparent background, as PNG
	AutoColor  bool    // WeChat chooses the color
	LineColor  [3]byte // red, green, blue
}

// UnlimitedCode has WeChat draw a QR code. It returns a complete JPEG or PNG of at most 2 MiB. An
// error with the reason INVALID_FIELD names the parameter that WeChat refuses.
func (c *Client) UnlimitedCode(ctx context.Context, p CodeParams) (picture []byte, _ error) {
	decimal := func(color byte) string { return strconv.Itoa(int(color)) }
	err := c.withToken(ctx, c.code, func(w *weapp.Client) error {
		rsp, _, err := w.NewWXACode().GetUnlimited(&wxacode.UnlimitedQRCode{
			Scene: p.Scene, Page: p.Page, Width: p.Width, AutoColor: p.AutoColor, IsHyaline: p.IsHyaline,
			EnvVersion: p.EnvVersion, CheckPath: p.CheckPath,
			LineColor: wxacode.Color{
				R: decimal(p.LineColor[0]), G: decimal(p.LineColor[1]), B: decimal(p.LineColor[2]),
			},
		})
		if err != nil {
			return err
		}
		defer rsp.Body.Close()
		picture, err = io.ReadAll(rsp.Body) // in memory already
		return err
	})
	return picture, err
}

// PhoneNumber exchanges a code of the getPhoneNumber button for the user's verified number in
// international form ("+8613800138000"). It never sends a code twice, except after a rejected
// access token.
func (c *Client) PhoneNumber(ctx context.Context, code string) (number string, _ error) {
	err := c.withToken(ctx, c.phone, func(w *weapp.Client) error {
		rsp, err := w.NewPhonenumber().GetPhoneNumber(&phonenumber.GetPhoneNumberRequest{Code: code})
		if err != nil {
			return err
		}
		data := rsp.Data
		if of := data.Watermark.Appid; of != "" && of != c.AppID {
			return badAnswer("phone number of another app")
		}
		digits := data.CountryCode + data.PurePhoneNumber
		if data.CountryCode == "" || data.PurePhoneNumber == "" || !validNumber.MatchString(digits) {
			return badAnswer("no phone number")
		}
		number = "+" + digits
		return nil
	})
	return number, err
}

// IsRisky has WeChat check a text of a user's profile, 1 to 2,500 characters (msg_sec_check version
// 2, scene 1). WeChat's verdict "review" is not risky. If the user was not active in the last two
// hours, IsRisky returns an error.
func (c *Client) IsRisky(ctx context.Context, openid, content string) (bool, error) {
	var verdict string
	err := c.withToken(ctx, c.text, func(w *weapp.Client) error {
		rsp, err := w.NewSecurity().MsgSecCheck(&security.MsgSecCheckRequest{
			Version: 2, Scene: 1, Openid: openid, Content: content,
		})
		if err != nil {
			return err
		}
		verdict = rsp.Result.Suggest
		if verdict != "pass" && verdict != "review" && verdict != "risky" {
			return badAnswer("no verdict")
		}
		return nil
	})
	return verdict == "risky", err
}

// CheckToken fetches an access token from WeChat, bypassing every cache, to check the AppID, the
// secret and this server's address. It invalidates nothing. Its error's Hint says what to do about
// refused settings.
func (c *Client) CheckToken(ctx context.Context) error {
	c.metrics.tokenFetches.WithLabelValues("check").Inc()
	_, _, err := c.stableToken(ctx, false)
	return err
}

// stableToken fetches an access token and its lifetime from WeChat.
func (c *Client) stableToken(
	ctx context.Context, force bool,
) (token string, lifetime time.Duration, _ error) {
	err := c.call(ctx, c.stable, "", func(w *weapp.Client) error {
		rsp, err := w.NewAuth().GetStableAccessToken(&auth.GetStableAccessTokenRequest{
			GrantType: "client_credential", Appid: c.AppID, Secret: string(c.Secret), ForceRefresh: force,
		})
		if err != nil {
			return err
		}
		if !validToken.MatchString(rsp.AccessToken) || rsp.ExpiresIn <= 0 {
			return badAnswer("no usable access token")
		}
		token = rsp.AccessToken
		lifetime = time.Duration(min(rsp.ExpiresIn, maxLifetimeSeconds)) * time.Second
		return nil
	})
	return token, lifetime, err
}
